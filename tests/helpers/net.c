/* What a network is like from inside. One verb a question; answers go to standard output. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/route.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void fail(const char *step) {
    printf("%s: %s\n", step, strerrorname_np(errno));
    exit(1);
}

static int check(const char *step, int result) {
    if (result < 0)
        fail(step);
    return result;
}

static socklen_t parse(const char *text, int port, union address *address) {
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons(port);
        return sizeof address->v4;
    }
    if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) != 1) {
        printf("%s is no address\n", text);
        exit(1);
    }
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = htons(port);
    return sizeof address->v6;
}

/* Sockets of such a type, one bound to the address and any port, listening where it can. */
static int bound(const char *text, int port, int type, union address *address) {
    socklen_t length = parse(text, port, address);
    int fd = check("socket", socket(address->any.sa_family, type, 0));
    check("bind", bind(fd, &address->any, length));
    check("getsockname", getsockname(fd, &address->any, &length));
    if (type == SOCK_STREAM)
        check("listen", listen(fd, 5));
    return fd;
}

static int port_of(const union address *address) {
    /* The port is at the same place in both families. */
    return ntohs(address->v4.sin_port);
}

static void interfaces(void) {
    struct ifaddrs *all;
    check("getifaddrs", getifaddrs(&all));
    for (struct ifaddrs *one = all; one; one = one->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        int bits = 0;
        const unsigned char *bytes;
        size_t size;
        if (!(one->ifa_flags & IFF_UP))
            continue;
        if (!one->ifa_addr || one->ifa_addr->sa_family == AF_PACKET) {
            printf("%s up\n", one->ifa_name);
            continue;
        }
        if (one->ifa_addr->sa_family == AF_INET) {
            inet_ntop(AF_INET, &((union address *)one->ifa_addr)->v4.sin_addr, text, sizeof text);
            bytes = (void *)&((union address *)one->ifa_netmask)->v4.sin_addr;
            size = 4;
        } else {
            inet_ntop(AF_INET6, &((union address *)one->ifa_addr)->v6.sin6_addr, text, sizeof text);
            bytes = (void *)&((union address *)one->ifa_netmask)->v6.sin6_addr;
            size = 16;
        }
        for (size_t i = 0; i < size; i++)
            bits += __builtin_popcount(bytes[i]);
        printf("%s/%d\n", text, bits);
    }
}

/* Says a word from one end to the other, by TCP and by UDP. */
static void talk(const char *text) {
    union address address;
    char buffer[8];
    int server = bound(text, 0, SOCK_STREAM, &address);
    int client = check("socket", socket(address.any.sa_family, SOCK_STREAM, 0));
    check("connect", connect(client, &address.any, sizeof address));
    int accepted = check("accept", accept(server, NULL, NULL));
    check("write", write(client, "word", 4));
    if (check("read", read(accepted, buffer, sizeof buffer)) != 4)
        fail("short");

    server = bound(text, 0, SOCK_DGRAM, &address);
    client = check("socket", socket(address.any.sa_family, SOCK_DGRAM, 0));
    check("sendto", sendto(client, "word", 4, 0, &address.any, sizeof address));
    if (check("recv", recv(server, buffer, sizeof buffer, 0)) != 4)
        fail("short");
    printf("%s\n", text);
}

/* How an address fails at once. Nothing waits here: what is under way shows as EINPROGRESS. */
static void unreachable(const char *text) {
    union address address;
    socklen_t length = parse(text, 9, &address);
    int fd = check("socket", socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0));
    printf("%s %s", text,
           connect(fd, &address.any, length) == 0 ? "connected" : strerrorname_np(errno));
    fd = check("socket", socket(address.any.sa_family, SOCK_DGRAM, 0));
    printf(" %s\n", sendto(fd, "word", 4, 0, &address.any, length) < 0 ? strerrorname_np(errno)
                                                                    : "sent");
}

static void resolve(const char *name) {
    static const int families[] = {AF_INET, AF_INET6, AF_UNSPEC};
    for (int i = 0; i < 3; i++) {
        struct addrinfo hints = {.ai_family = families[i],
                                 .ai_socktype = SOCK_STREAM,
                                 .ai_flags = AI_ADDRCONFIG};
        struct addrinfo *found;
        int error = getaddrinfo(name, NULL, &hints, &found);
        if (error) {
            printf("%s\n", gai_strerror(error));
            continue;
        }
        for (; found; found = found->ai_next) {
            char text[INET6_ADDRSTRLEN];
            getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0,
                        NI_NUMERICHOST);
            printf("%s%s", text, found->ai_next ? " " : "\n");
        }
    }
}

/* Receives what is sent to `group`: joined where it is a multicast group. */
static void deliver(const char *group, int is_multicast) {
    union address address, to;
    char buffer[8];
    int on = 1;
    int receiver = bound("0.0.0.0", 0, SOCK_DGRAM, &address);
    parse(group, port_of(&address), &to);
    if (is_multicast) {
        struct ip_mreq request = {.imr_multiaddr = to.v4.sin_addr};
        check("join",
              setsockopt(receiver, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
    }
    int sender = check("socket", socket(AF_INET, SOCK_DGRAM, 0));
    if (!is_multicast)
        check("SO_BROADCAST", setsockopt(sender, SOL_SOCKET, SO_BROADCAST, &on, sizeof on));
    check("sendto", sendto(sender, "word", 4, 0, &to.any, sizeof to.v4));
    if (check("recv", recv(receiver, buffer, sizeof buffer, 0)) != 4)
        fail("short");
    printf("delivered\n");
}

static void ping(const char *text) {
    union address address;
    socklen_t length = parse(text, 0, &address);
    int v4 = address.any.sa_family == AF_INET;
    struct icmphdr request = {.type = v4 ? ICMP_ECHO : 128, .un.echo.sequence = htons(1)};
    unsigned char reply[64];
    int fd = check("socket",
                   socket(address.any.sa_family, SOCK_DGRAM, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6));
    check("sendto", sendto(fd, &request, sizeof request, 0, &address.any, length));
    check("recv", recv(fd, reply, sizeof reply, 0));
    printf("%s\n", reply[0] == (v4 ? ICMP_ECHOREPLY : 129) ? "reply" : "something else");
}

/* What only the network's owner may do, and how it fails. */
static void powers(void) {
    struct ifreq request = {.ifr_name = "lo"};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(80)};
    struct rtentry route = {.rt_dst.sa_family = AF_INET,
                            .rt_genmask.sa_family = AF_INET,
                            .rt_flags = RTF_UP,
                            .rt_dev = "lo"};
    int fd = check("socket", socket(AF_INET, SOCK_STREAM, 0));
#define TRY(name, call) printf("%s %s\n", name, (call) < 0 ? strerrorname_np(errno) : "done")
    TRY("down", ioctl(fd, SIOCSIFFLAGS, &request));
    TRY("route", ioctl(fd, SIOCADDRT, &route));
    TRY("packet", socket(AF_PACKET, SOCK_RAW, 0));
    TRY("raw", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    TRY("hostname", sethostname("elsewhere", 9));
    TRY("port", bind(fd, (struct sockaddr *)&any, sizeof any));
    TRY("sysctl", open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY));
}

static void connect_tcp(const char *text, const char *port) {
    union address address;
    char buffer[64];
    socklen_t length = parse(text, atoi(port), &address);
    int fd = check("socket", socket(address.any.sa_family, SOCK_STREAM, 0));
    check("connect", connect(fd, &address.any, length));
    buffer[check("read", read(fd, buffer, sizeof buffer - 1))] = 0;
    printf("%s\n", buffer);
}

/* A name that begins with @ is abstract. unix(7). */
static void connect_unix(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    memcpy(address.sun_path, name, length);
    if (*name == '@')
        *address.sun_path = 0;
    int fd = check("socket", socket(AF_UNIX, SOCK_STREAM, 0));
    check("connect", connect(fd, (struct sockaddr *)&address,
                             offsetof(struct sockaddr_un, sun_path) + length));
    printf("connected\n");
}

/* Answers the next connection with a word whenever a line is read, after one of its own. */
static void serve(const char *port, const char *name) {
    union address address;
    char line[64];
    int server = bound("127.0.0.1", atoi(port), SOCK_STREAM, &address);
    printf("ready\n");
    while (fflush(stdout), fgets(line, sizeof line, stdin)) {
        int client = check("socket", socket(AF_INET, SOCK_STREAM, 0));
        check("connect", connect(client, &address.any, sizeof address.v4));
        int accepted = check("accept", accept(server, NULL, NULL));
        check("write", write(accepted, name, strlen(name)));
        line[check("read", read(client, line, sizeof line - 1))] = 0;
        printf("%s\n", line);
    }
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    char name[256];
    /* Where the box failed to be one, nothing may be sent from the host. */
    const char *host = getenv("HOST_NETWORK");
    if (host) {
        name[readlink("/proc/self/ns/net", name, sizeof name - 1)] = 0;
        if (strstr(name, host)) {
            printf("this is the host's network\n");
            return 1;
        }
    }
    if (!strcmp(verb, "interfaces"))
        interfaces();
    for (int i = 2; i < argc; i++) {
        if (!strcmp(verb, "talk"))
            talk(argv[i]);
        if (!strcmp(verb, "unreachable"))
            unreachable(argv[i]);
        if (!strcmp(verb, "resolve"))
            resolve(argv[i]);
        if (!strcmp(verb, "ping"))
            ping(argv[i]);
        if (!strcmp(verb, "unix"))
            connect_unix(argv[i]);
    }
    if (!strcmp(verb, "multicast"))
        deliver("224.0.1.77", 1);
    if (!strcmp(verb, "broadcast"))
        deliver("255.255.255.255", 0);
    if (!strcmp(verb, "hostname")) {
        check("gethostname", gethostname(name, sizeof name));
        printf("%s\n", name);
    }
    if (!strcmp(verb, "powers"))
        powers();
    if (!strcmp(verb, "powers-of-own")) {
        /* All capabilities, but over namespaces that did not make this network. */
        check("unshare", unshare(CLONE_NEWUSER));
        powers();
    }
    if (!strcmp(verb, "tcp"))
        connect_tcp(argv[2], argv[3]);
    if (!strcmp(verb, "serve"))
        serve(argv[2], argv[3]);
    return 0;
}
