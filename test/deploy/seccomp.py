"""Runs a program under a container's seccomp profile, as a container runtime would.

The profile has the form of the OCI runtime specification.

Use: seccomp.py PROFILE PROGRAM ARGUMENT...
     seccomp.py PROFILE --families    says which address families socket(2) gives, and ends
"""

import errno
import json
import os
import socket
import sys

import pyseccomp

OPERATIONS = {"SCMP_CMP_EQ": pyseccomp.EQ, "SCMP_CMP_MASKED_EQ": pyseccomp.MASKED_EQ}
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_ALG": 38, "AF_VSOCK": 40}


def argument(arg):
    operation = OPERATIONS[arg["op"]]
    if operation == pyseccomp.MASKED_EQ:
        return pyseccomp.Arg(arg["index"], operation, arg["value"], arg["valueTwo"])
    return pyseccomp.Arg(arg["index"], operation, arg["value"])


def load(path):
    with open(path, encoding="utf-8") as file:
        profile = json.load(file)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO", profile["defaultAction"]
    calls = pyseccomp.SyscallFilter(pyseccomp.ERRNO(profile["defaultErrnoRet"]))
    for rule in profile["syscalls"]:
        action = pyseccomp.ALLOW
        if rule["action"] != "SCMP_ACT_ALLOW":
            assert rule["action"] == "SCMP_ACT_ERRNO", rule
            action = pyseccomp.ERRNO(rule["errnoRet"])
            if rule["errnoRet"] == profile["defaultErrnoRet"]:
                continue  # As any other call: libseccomp refuses a rule that changes nothing.
        for name in rule["names"]:
            calls.add_rule(action, name, *map(argument, rule.get("args", [])))
    calls.load()


def families():
    for name, number in FAMILIES.items():
        kind = socket.SOCK_RAW if name in ("AF_NETLINK", "AF_PACKET") else socket.SOCK_STREAM
        if name == "AF_ALG":
            kind = socket.SOCK_SEQPACKET
        try:
            socket.socket(number, kind).close()
            print(name, "allowed")
        except OSError as error:
            print(name, errno.errorcode[error.errno])


if __name__ == "__main__":
    load(sys.argv[1])
    if sys.argv[2] == "--families":
        families()
    else:
        os.execv(sys.argv[2], sys.argv[2:])
