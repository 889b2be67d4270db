#!/usr/bin/env python3
"""Compiles OCI seccomp sections by libseccomp, the way runc drives it.

Reads one section, as in a config.json, from each line of standard input, and writes one object
for each: {"program": hex, "numbers": {arch: {name: number}}, "refused": [index]}. A name that
libseccomp does not know is in no table; a call that an architecture lacks is not in that one's.
A rule is refused that has the conditions of an earlier one and another action (EEXIST); runc then
refuses the whole section, here the program is made without the rule. The answer is null for a
section over which libseccomp 2.5.4 loops without end, as it does on some overlapping rules.

What runc does and this does not is its ENOSYS stub, which it puts before libseccomp's program.
"""

import ctypes
import errno
import json
import os
import signal
import sys

ARCHES = {
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X32": 0x4000003E,
}
ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
OPERATORS = ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE",
             "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"]  # from 1
CTL_NNP, CTL_OPTIMIZE = 3, 8
NR_ERROR = -1


class Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int),
                ("datum_a", ctypes.c_uint64), ("datum_b", ctypes.c_uint64)]


lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
lib.seccomp_init.restype = ctypes.c_void_p
lib.seccomp_init.argtypes = [ctypes.c_uint32]
lib.seccomp_release.argtypes = [ctypes.c_void_p]
lib.seccomp_release.restype = None
lib.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
lib.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
lib.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
lib.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int,
                                       ctypes.c_uint, ctypes.POINTER(Comparison)]
lib.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]


class Contradiction(Exception):
    pass


def check(what, code, *allowed):
    if code < 0 and -code not in allowed:
        raise RuntimeError(f"{what}: {errno.errorcode.get(-code, code)}")


def action(name, number):
    value = ACTIONS[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        value |= errno.EPERM if number is None else number
    return value


def comparison(arg):
    masked = arg["op"] == "SCMP_CMP_MASKED_EQ"
    return Comparison(arg["index"], OPERATORS.index(arg["op"]) + 1, arg["value"],
                      arg.get("valueTwo") or 0 if masked else 0)


def add(context, number, verdict, args):
    array = (Comparison * len(args))(*map(comparison, args))
    code = lib.seccomp_rule_add_array(context, verdict, number, len(args), array)
    if code == -errno.EEXIST:
        raise Contradiction
    check(f"rule for {number} {args}", code)


def compile_section(section, without=()):
    """The program for the native architecture, as the bytes that the kernel takes.

    If it contradicts itself, the index of the rule that does."""
    default = action(section["defaultAction"], section.get("defaultErrnoRet"))
    context = lib.seccomp_init(default)
    if not context:
        raise RuntimeError("seccomp_init failed")
    try:
        for arch in section.get("architectures") or []:
            check(arch, lib.seccomp_arch_add(context, ARCHES[arch]), errno.EEXIST)
        calls = [(at, name, rule) for at, rule in enumerate(section.get("syscalls") or [])
                 for name in rule["names"] if at not in without]
        if len(calls) > 32:
            check("optimize", lib.seccomp_attr_set(context, CTL_OPTIMIZE, 2))
        check("no_new_privs", lib.seccomp_attr_set(context, CTL_NNP, 0))
        for at, name, rule in calls:
            verdict = action(rule["action"], rule.get("errnoRet"))
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if verdict == default or number == NR_ERROR:
                continue
            args = rule.get("args") or []
            indices = [arg["index"] for arg in args]
            twice = len(set(indices)) < len(indices)
            try:
                for some in [[arg] for arg in args] if twice else [args]:
                    add(context, number, verdict, some)
            except Contradiction:
                return at
        with os.fdopen(os.memfd_create("filter"), "w+b") as out:
            check("export", lib.seccomp_export_bpf(context, out.fileno()))
            out.seek(0)
            return out.read()
    finally:
        lib.seccomp_release(context)


def numbers(section):
    names = {name for rule in section.get("syscalls") or [] for name in rule["names"]}
    tables = {}
    for arch, token in ARCHES.items():
        found = {name: lib.seccomp_syscall_resolve_name_arch(token, name.encode())
                 for name in names}
        tables[arch] = {name: number for name, number in found.items() if number >= 0}
    return tables


def answer(section):
    refused = []
    while isinstance(made := compile_section(section, refused), int):
        refused.append(made)
    return {"program": made.hex(), "numbers": numbers(section), "refused": refused}


def in_a_child(section):
    """The answer, or None if it takes more than a second of processor time."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.setitimer(signal.ITIMER_PROF, 1.0)
        with os.fdopen(writer, "w") as out:
            json.dump(answer(section), out)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as made:
        text = made.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -signal.SIGPROF:
        return None
    if status:
        sys.exit(f"failed over {section}")
    return json.loads(text)


def main():
    for line in sys.stdin:
        print(json.dumps(in_a_child(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
