"""The lab: a Portage of its own, with its users, sources and repository.

Everything that a run makes lies below one directory, Lab.work, and is gone
when the run ends. Only what was downloaded may stay, in the cache directory.
"""

import contextlib
import fcntl
import grp
import http.server
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
CLONE = HERE.parent.parent
PORTAGE = "portage==3.0.83"
# Of early 2022.
OLDER_PORTAGE = "portage==3.0.30"
# The newest ones that bash 5.2 is enough for.
PKGCORE = ("pkgcore==0.12.30", "pkgcheck==0.10.36")
SOURCES = ("popt", "memcached")
DEBIAN = ("build-essential", "curl", "dpkg-dev", "libevent-dev", "perl", "python3-venv", "util-linux")
ORDINARY = "phasebox-lab"

# No test waits for this long unless it fails.
PATIENCE = 240


def call(*command, **options):
    """Run a set-up command; its output matters only if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def eventually(happened, seconds=PATIENCE):
    """Wait for an event; whether it came within the bound."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def open_to_all(path):
    """Whether every user can reach a directory."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def processes_in(directory):
    """Ids of the processes that run in a directory or name it in their arguments."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            where = os.readlink(entry / "cwd")
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace")
            if (where + "/").startswith(f"{directory}/") or f"{directory}/" in arguments:
                found.append(int(entry.name))
    return found


def kill_in(directory):
    """Kill the processes of a directory; whether all are gone."""
    def gone():
        found = processes_in(directory)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found
    return eventually(gone, 20)


def groups_of_lab():
    """Control groups named after the lab's packages, in every hierarchy."""
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup")
            if re.search(r"lab-\w+:", os.path.basename(folder))]


def mounts():
    return sorted(pathlib.Path("/proc/self/mounts").read_text().splitlines())


class Listener:
    """An HTTP server on the host's 127.0.0.1: what a box must not reach."""

    def __enter__(self):
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Lab:
    def __init__(self, stack, phasebox):
        # One run at a time: runs share the user and group that Portage wants.
        self.lock = os.open(HERE, os.O_RDONLY)
        fcntl.flock(self.lock, fcntl.LOCK_EX)

        self.cache = pathlib.Path(os.environ.get("PORTAGE_LAB") or CLONE / "target/portage-lab")
        self.cache.mkdir(parents=True, exist_ok=True)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="phasebox-portage-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, self.work)
        # Nothing is left by then, unless the run breaks off.
        stack.callback(kill_in, self.work)
        self.work.chmod(0o755)

        self.install_packages()
        self.make_accounts(stack)
        self.install_portage()
        self.install_sources()
        self.install_phasebox(phasebox)
        shutil.copytree(HERE / "repo", self.work / "repo")
        call("chmod", "-R", "a+rX", self.work / "repo")

        self.listener = stack.enter_context(Listener())
        scene = Scene(self, "root", boxed=False)
        for package in ("lab-libs/popt", "lab-net/memcached", "lab-misc/download"):
            done = scene.ebuild(package, "manifest")
            if done.status:
                sys.exit(f"ebuild manifest: status {done.status}\n{done.output}")

    def install_packages(self):
        known = subprocess.run(
            ["dpkg-query", "--show", "--showformat=${Status} ${Package}\n", *DEBIAN],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        missing = [name for name in DEBIAN if f"install ok installed {name}\n" not in known]
        if missing:
            quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
            call("apt-get", "update", env=quiet)
            call("apt-get", "install", "--yes", "--no-install-recommends", *missing, env=quiet)

    def make_accounts(self, stack):
        """The user and group that Portage wants, and an ordinary user in no group but its own."""
        def missing(database, name):
            try:
                return not database(name)
            except KeyError:
                return True

        def remove_group(name):
            # userdel has removed it already where it removes users' own groups.
            if not missing(grp.getgrnam, name):
                call("groupdel", name)

        for name in ("portage", ORDINARY):
            if missing(grp.getgrnam, name):
                call("groupadd", "--system", name)
                stack.callback(remove_group, name)
            if missing(pwd.getpwnam, name):
                call("useradd", "--system", "--gid", name, "--no-create-home",
                     "--home-dir", "/nonexistent", "--shell", "/bin/false", name)
                stack.callback(call, "userdel", name)

    def install_portage(self):
        """From PyPI, where every user may run it."""
        self.portage = self.installed("venv", "ebuild", PORTAGE)

    def installed(self, name, program, *packages):
        place = self.cache if open_to_all(self.cache) else self.work
        venv = place / name
        if not (venv / "bin" / program).exists():
            shutil.rmtree(venv, ignore_errors=True)
            call("/usr/bin/python3", "-m", "venv", venv)
            call(venv / "bin/pip", "install", "--quiet", *packages)
        return venv

    def older_portage(self):
        return self.installed("older-venv", "ebuild", OLDER_PORTAGE)

    def pkgcore(self):
        return self.installed("pkgcore-venv", "pebuild", *PKGCORE)

    def install_sources(self):
        """Debian's source packages, by a configuration of apt that is the lab's alone."""
        sources = self.cache / "sources"
        self.distfiles = self.work / "distfiles"
        self.distfiles.mkdir()
        if not all(list(sources.glob(f"{name}_*.orig.tar.*")) for name in SOURCES):
            shutil.rmtree(sources, ignore_errors=True)
            sources.mkdir()
            apt = self.work / "apt"
            (apt / "lists/partial").mkdir(parents=True)
            targets = ("apt-get", "indextargets",
                       "--format", "deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)",
                       "Created-By: Packages", "Origin: Debian")
            wanted = call(*targets)
            if not wanted:
                call("apt-get", "update")
                wanted = call(*targets)
            (apt / "sources.list").write_text("".join(sorted(set(wanted.splitlines(True)))))
            own = ("-o", f"Dir::Etc::SourceList={apt}/sources.list",
                   "-o", "Dir::Etc::SourceParts=/dev/null",
                   "-o", f"Dir::State::Lists={apt}/lists",
                   "-o", f"Dir::Cache={apt}",
                   "-o", "APT::Sandbox::User=root")
            call("apt-get", *own, "update")
            call("apt-get", *own, "source", "--download-only", *SOURCES, cwd=sources)
        for name in SOURCES:
            archive, = (found for found in sources.glob(f"{name}_*.orig.tar.*")
                        if found.suffix != ".asc")
            shutil.copy(archive, self.distfiles / f"{name}.orig.tar")

    def install_phasebox(self, phasebox):
        """Where every user may run and read it: a clone may be closed to them."""
        self.phasebox = self.work / "bin/phasebox"
        self.phasebox.parent.mkdir()
        shutil.copyfile(phasebox, self.phasebox)
        self.phasebox.chmod(0o755)
        self.set_id = self.work / "bin/set-id"
        shutil.copyfile(phasebox, self.set_id)
        shutil.chown(self.set_id, "root", "portage")
        self.set_id.chmod(0o4710)
        self.bashrc = self.work / "share/phasebox.bashrc"
        self.bashrc.parent.mkdir()
        shutil.copyfile(CLONE / "contrib/portage/phasebox.bashrc", self.bashrc)
        self.bashrc.chmod(0o644)


class Result:
    def __init__(self, status, output, seconds):
        self.status, self.output, self.seconds = status, output, seconds


class Scene:
    """One configuration of Portage, with directories of its own.

    account: "root", "userpriv" (root runs Portage, its user the phases),
    "ordinary" (an ordinary user runs Portage, in a prefix of their own) or
    "member" (the same user, put into the group portage, in root's prefix).
    settings: lines for make.conf; None leaves one out.
    files: more files below /etc/portage, by name.
    """

    made = 0

    def __init__(self, lab, account, boxed=True, features="", early="", files=None, portage=None,
                 **settings):
        Scene.made += 1
        self.lab, self.account, self.portage = lab, account, portage or lab.portage
        self.path = lab.work / f"scene-{Scene.made}"
        self.prefix = self.path / "prefix"
        self.out = self.path / "out"
        self.builds = self.path / "tmp/portage"
        etc = self.prefix / "etc/portage"
        for folder in (etc, self.out, self.builds, self.path / "distfiles",
                       self.prefix / "usr/share/portage", self.prefix / "share/portage"):
            folder.mkdir(parents=True)
        for share in ("usr/share", "share"):
            (self.prefix / share / "portage/config").symlink_to(self.portage / "share/portage/config")
        (etc / "make.profile").symlink_to(lab.work / "repo/profiles/base")
        for archive in lab.distfiles.iterdir():
            (self.path / "distfiles" / archive.name).symlink_to(archive)

        values = {
            "FEATURES": f"-* nostrip {'userpriv' if account == 'userpriv' else ''} {features}",
            "MAKEOPTS": "-j1",
            "PORTAGE_TMPDIR": self.path / "tmp",
            "DISTDIR": self.path / "distfiles",
            "PKGDIR": self.path / "packages",
            "PORTAGE_LOGDIR": self.path / "logs",
            "PHASEBOX": lab.phasebox,
            "PHASEBOX_FEATURES": "cgroup network-sandbox ipc-sandbox",
            "LAB_OUT": self.out,
            "LAB_LISTENER": lab.listener.url,
            "LAB_PORT_HEX": f"{lab.listener.port:04X}",
            "LAB_OWNER": self.path.name,
            # In a box every build may have the same port for itself.
            "LAB_SERVER_PORT": "11211",
        }
        values.update(settings)
        (etc / "make.conf").write_text("".join(
            f'{name}="{value}"\n' for name, value in values.items() if value is not None))
        if boxed:
            (etc / "bashrc").write_text(f'{early}\nsource "{lab.bashrc}" || die "phasebox.bashrc is not there"\n')

        for name, text in (files or {}).items():
            (etc / name).parent.mkdir(exist_ok=True)
            (etc / name).write_text(text)

        # Phases of another user write here.
        self.out.chmod(0o777)
        self.probe = self.out / "probe"
        self.probe.touch()
        self.probe.chmod(0o666)

        if account == "ordinary":
            call("chown", "-R", f"{ORDINARY}:{ORDINARY}", self.path)
        elif account == "member":
            call("chown", "-R", f"{ORDINARY}:portage", self.path)
            call("chown", "-R", "root", self.prefix)

    def start(self, *command, environment=(), wrapper=()):
        """Start one of Portage's programs; its output goes to a file in the scene."""
        variables = {
            "PATH": f"{self.portage}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.path),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "PORTAGE_OVERRIDE_EPREFIX": str(self.prefix),
            "PORTAGE_REPOSITORIES":
                f"[DEFAULT]\nmain-repo = lab\n[lab]\nlocation = {self.lab.work}/repo\nauto-sync = no\n",
            **dict(environment),
        }
        who = {}
        if self.account in ("ordinary", "member"):
            groups = ["portage"] if self.account == "member" else []
            who = {"user": ORDINARY, "group": ORDINARY, "extra_groups": groups}
        self.output = self.path / f"output-{time.monotonic_ns()}"
        with open(self.output, "wb") as output:
            process = subprocess.Popen(
                [*map(str, wrapper), *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                cwd="/", env=variables, start_new_session=True, **who)
        process.began, process.output = time.monotonic(), self.output
        return process

    def finish(self, process):
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = "none: it never ended"
        return Result(status, process.output.read_text(errors="replace"),
                      time.monotonic() - process.began)

    def start_ebuild(self, package, *phases, **options):
        name = package.split("/")[1]
        found, = (self.lab.work / "repo" / package).glob(f"{name}-*.ebuild")
        return self.start("ebuild", found, *phases, **options)

    def ebuild(self, package, *phases, **options):
        return self.finish(self.start_ebuild(package, *phases, **options))

    def emerge(self, *words):
        return self.finish(self.start("emerge", *words))

    def said(self):
        """What the phases noted about themselves: one dictionary a line."""
        return [dict(word.partition("=")[::2] for word in line.split())
                for line in self.probe.read_text().splitlines()]

    def file(self, package, name):
        """A file that Portage keeps for a build, as "temp/build.log"."""
        category, version = package.split("/")
        found = list((self.builds / category).glob(f"{version}-*/{name}"))
        if len(found) != 1:
            raise AssertionError(f"{package} has {len(found)} of {name}")
        return found[0].read_text(errors="replace")

    def processes(self):
        return processes_in(self.path)

    def kill(self):
        return kill_in(self.path)
