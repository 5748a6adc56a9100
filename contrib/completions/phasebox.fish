# Completion of phasebox's arguments in fish.

set -g __phasebox_with_value --features --phase --properties --restrict --report-fd --user --group \
    --groups --umask --cgroup-parent

# Whether the words before the cursor have no command yet.
function __phasebox_is_option
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        if contains -- $words[1] $__phasebox_with_value
            set -e words[1]
        else if test $words[1] = --; or not string match -q -- '-*' $words[1]
            return 1
        end
        set -e words[1]
    end
end

function __phasebox_option
    complete -c phasebox -n __phasebox_is_option $argv
end

complete -c phasebox -f
complete -c phasebox -x -a '(__fish_complete_subcommand -- $__phasebox_with_value)'
__phasebox_option -s n -l net -d 'A network with loopback only'
__phasebox_option -s i -l ipc -d 'System V and POSIX IPC of its own'
__phasebox_option -s c -l cgroup -d 'A control group, emptied in the end'
__phasebox_option -s p -l pid -d 'A PID namespace with an init'
__phasebox_option -s m -l mount -d 'A mount namespace'
__phasebox_option -l features -x -d "Portage's FEATURES" \
    -a 'cgroup network-sandbox ipc-sandbox pid-sandbox mount-sandbox'
__phasebox_option -l phase -x -d 'The ebuild phase' \
    -a 'depend src_{unpack,prepare,configure,compile,test,install} pkg_{pretend,setup,info,nofetch,preinst,postinst,prerm,postrm,config}'
__phasebox_option -l properties -x -d "The ebuild's PROPERTIES" -a 'live test_network'
__phasebox_option -l restrict -x -d "The ebuild's RESTRICT" -a network-sandbox
__phasebox_option -l best-effort -d 'Go on without what cannot be had'
__phasebox_option -l quiet -d 'Do not name what is killed'
__phasebox_option -l report-fd -x -d 'A line of JSON to a descriptor in the end' -a '1 2 3'
__phasebox_option -l check -d 'Try what works here'
__phasebox_option -l help -d 'Write a summary of the options'
__phasebox_option -l version -d 'Write the version'
__phasebox_option -l user -x -d 'Whom the command runs as' -a '(__fish_complete_users)'
__phasebox_option -l group -x -d 'Its group' -a '(__fish_complete_groups)'
__phasebox_option -l groups -x -d 'Its supplementary groups' -a '(__fish_complete_list , __fish_complete_groups)'
__phasebox_option -l umask -x -d 'Its umask' -a '022 027 077'
__phasebox_option -l cgroup-parent -x -d 'Where the control group is made' -a '(__fish_complete_directories)'
functions -e __phasebox_option
