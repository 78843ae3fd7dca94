"""The attacks in words, in the order of the table, and which of them a level does not promise to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nightcrew.model.isolation import Level


@dataclass(frozen=True, slots=True)
class Entry:
    """One attack: its name, the group it is shown in, what is tried in words."""

    name: str
    group: str
    tried: str


_TRIED: Final[Mapping[str, Mapping[str, str]]] = {
    "files": {
        "read_secret": "read a private file outside",
        "read_home": "see what lies in your home",
        "stat_outside": "learn that a file outside exists",
        "write_outside": "make a file outside",
        "change_outside": "change a file outside",
        "remove_outside": "remove a file outside",
        "chmod_outside": "change mode, time or attributes of a file outside",
        "write_system": "write into /usr, /etc, /var, /boot, /root, /opt",
        "read_accounts": "read /etc/shadow, /etc/gshadow, /etc/sudoers",
        "follow_symlink": "read and write through a symbolic link that leads out",
        "link_hard": "make a hard link to a file outside",
        "race_symlink": "swap a directory with a link that leads out while writing through it",
        "climb_by_rename": "climb out by .. from a directory that was moved meanwhile",
        "use_descriptors": "use a descriptor that was left open",
        "change_git_settings": "change the git settings of the base (fsmonitor = a program)",
        "make_device": "make the node of a disk or of memory",
        "make_whiteout": "make the overlay's own mark of a deleted file",
        "use_set_user_id": "make a set-user-id program that counts",
        "open_devices": "open disks, memory, /dev/kvm and other devices",
        "open_fuse": "open /dev/fuse",
        "read_shared_memory": "read a file in the host's /dev/shm",
    },
    "processes": {
        "list_processes": "see the host's processes",
        "signal_process": "kill a process of yours",
        "trace_process": "attach to a process of yours (ptrace)",
        "trace_self": "let itself be traced",
        "read_memory": "read the memory of a process of yours (/proc/N/mem)",
        "copy_memory": "copy the memory of a process of yours (process_vm_readv)",
        "read_environments": "read the environment of another process",
        "read_own_environment": "find variables of yours in its own environment",
        "enter_process": "get out through /proc/N/{root,cwd,fd}",
        "take_descriptor": "take a descriptor from a process of yours (pidfd_getfd)",
        "hold_privileges": "hold a capability, or win one by starting a program",
        "become_other": "become another user or group",
        "go_before_others": "give itself priority, or safety from the out-of-memory killer",
        "raise_limits": "raise its own limits",
    },
    "kernel": {
        "write_switches": "open core_pattern, sysrq, cgroup and other switches for writing",
        "read_kernel": "read kernel memory, log, keys and timers from /proc",
        "read_sys": "look into /sys",
        "inject_input": "type into a terminal (TIOCSTI, TIOCLINUX)",
        "open_terminal": "open your terminal (/dev/tty)",
        "find_segment": "find a System V shared memory segment of the host",
        "rename_machine": "rename the machine",
        "call_refused": "make the system calls that no build or test needs",
        "call_in_32_bits": "make them by the 32-bit table (int 0x80)",
        "call_in_x32": "make them by the x32 table",
        "call_the_unknown": "make calls that newer kernels will have",
        "use_io_uring": "use io_uring",
        "use_userfaultfd": "use userfaultfd",
        "use_keyring": "use the kernel's keyring",
        "use_bpf": "use bpf or perf events",
        "load_module": "load a module, another kernel, swap, or reboot",
        "open_by_handle": "open files by handle",
        "set_clock": "set the clock",
        "nest_namespaces": "make namespaces of its own (unshare, clone3)",
        "enter_namespace": "enter the namespace of another process",
        "mount_anything": "mount, unmount, chroot",
        "make_writable": "make a read-only mount writable",
        "hide_memory": "hide memory from the limits (memfd)",
        "take_large_segment": "take a gigabyte that outlives it (shmget)",
    },
    "network": {
        "reach_loopback": "connect to a server on the host's loopback",
        "reach_loopback_oddly": "the same by 0.0.0.0, 127.1.2.3, ::ffff:, own address, TCP fast open",
        "reach_far": "find a way to the network, cloud metadata, IPv6",
        "ask_name_server": "ask a name server",
        "reach_abstract": "connect to an abstract socket of the host",
        "reach_unix": "connect to a socket file outside, or in the base, or send it a datagram",
        "reach_daemons": "find any socket of a daemon (docker, D-Bus, ssh agent)",
        "list_interfaces": "see a network interface",
        "open_netlink": "open netlink: audit, netfilter, device events",
        "open_vsock": "open a vsock to the hypervisor",
        "open_packet": "open a packet socket",
        "open_raw": "open a raw socket",
        "open_families": "open any other address family",
        "open_protocols": "open SCTP, DCCP, MPTCP, UDP-Lite",
    },
    "proxy": {
        "pass_by": "go to the network past the proxy, for a task that has one",
        "ask_for_unlisted": "ask its name server for a name that is not on the list",
        "proxy_unlisted": "go through it to a host that is not on the list",
        "proxy_inward": "go through it to this machine: decimal, hex, octal, IPv6, mapped, by a name",
        "proxy_private": "go through it to private networks and cloud metadata, also by a name",
        "proxy_mismatch": "show it one host and mean another (Host, two lengths, bare line feeds)",
        "proxy_oddly": "speak something else to it (file:, TRACE, SOCKS, TLS)",
    },
    "greed": {
        "fork_bomb": "start processes without end",
        "hog_memory": "take memory without end",
        "hog_memory_shared": "take memory without end in /tmp and /dev/shm",
        "fill_disk": "fill the disk",
        "fill_deleted": "fill the disk with files that have no name",
        "fill_inodes": "make files without end",
        "grow_file": "make one huge file",
        "open_files": "open files without end",
        "burn_cpu": "use every processor",
        "print_endless_line": "print one line without end",
    },
    "ending": {
        "ignore_term": "ignore SIGTERM at its deadline",
        "stay_silent": "say nothing for ever",
        "leave_daemon": "leave a daemon behind (setsid, double fork)",
        "outlive_runtime": "outlive nightcrew, killed by kill -9",
    },
}

ENTRIES: Final = tuple(
    Entry(name, group, tried) for group, attacks in _TRIED.items() for name, tried in attacks.items()
)

#: What a level does not promise, and why. A level that is not named here promises all of it.
NOT_PROMISED: Final[Mapping[str, Mapping[str, str]]] = {
    Level.S2: {"list_processes": "the host's process list is shown: that is what makes it S2"},
    Level.S1: {
        "stat_outside": "Landlock knows who may read a file, not who may ask about it",
        "list_processes": "the host's /proc is seen: names and command lines of processes",
        "read_kernel": "the host's /proc is seen: what your user may read there can be read",
    },
    Level.S0: {
        entry.name: "level S0 holds nothing: it keeps a tree together and ends it"
        for entry in ENTRIES
        if entry.name
        not in (
            "grow_file", "open_files", "raise_limits", "hog_memory", "fork_bomb", "print_endless_line", "ignore_term",
            "stay_silent", "leave_daemon", "outlive_runtime", "read_own_environment", "use_descriptors",
        )
    },
}  # fmt: skip
