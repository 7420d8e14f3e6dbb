"""under_profile.py PROFILE ROOT USER COMMAND...: runs a command in a root, as a user, under a container engine's profile.

For the system's own Python, which has libseccomp's module.
"""

import json
import os
import sys

import seccomp

COMPARE = {
    "SCMP_CMP_EQ": lambda value, _: (seccomp.EQ, value),
    "SCMP_CMP_NE": lambda value, _: (seccomp.NE, value),
    "SCMP_CMP_MASKED_EQ": lambda mask, value: (seccomp.MASKED_EQ, mask, value),
}


def read(path: str) -> seccomp.SyscallFilter:
    with open(path) as file:
        profile = json.load(file)
    syscalls = seccomp.SyscallFilter(defaction=seccomp.ERRNO(profile["defaultErrnoRet"]))
    for rule in profile["syscalls"]:
        allow = rule["action"] == "SCMP_ACT_ALLOW"
        action = seccomp.ALLOW if allow else seccomp.ERRNO(rule["errnoRet"])
        for name in rule["names"]:
            conditions = [
                seccomp.Arg(arg["index"], *COMPARE[arg["op"]](arg["value"], arg["valueTwo"])) for arg in rule.get("args", [])
            ]
            syscalls.add_rule(action, name, *conditions)
    return syscalls


_, profile, root, user, *command = sys.argv
syscalls = read(profile)
os.chroot(root)
os.chdir("/")
os.setgroups([])
os.setgid(int(user))
os.setuid(int(user))
syscalls.load()
os.execv(command[0], command)
