#!/usr/bin/env python3
"""Inside the machine: how long `run` and `exec` take with each runtime, one after the other in each round.

    bench.py ROUNDS

Beside it: stockade, docker-config.json, rootfs/. Times of an emulated machine mean nothing by themselves,
so ratios are printed."""

import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["PATH"] += ":/usr/sbin"


def bundle(name, args):
    path = f"/run/bench/{name}"
    os.makedirs(path)
    with open(f"{HERE}/docker-config.json") as text:
        spec = json.load(text)
    spec["process"]["args"] = args
    spec["linux"]["cgroupsPath"] = f"/bench/{name}"
    spec["root"]["path"] = f"{HERE}/rootfs"
    for mount in spec["mounts"]:
        if mount["type"] == "bind":
            mount["source"] = f"{path}/{mount['source']}"
            open(mount["source"], "w").close()
    with open(f"{path}/config.json", "w") as text:
        json.dump(spec, text)
    return path


def once(command):
    begin = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, close_fds=False)
    took = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{command}: {done.returncode}: {done.stdout.decode()}")
    return took


def main():
    rounds = int(sys.argv[1])
    programs = {"stockade": f"{HERE}/stockade", "crun": "crun", "runc": "runc"}
    head = {name: [program, "--root", f"/run/bench-{name}"] for name, program in programs.items()}
    for name, program in programs.items():
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        print(name, said.splitlines()[0])
    times = {what: {name: [] for name in programs} for what in ["run", "exec"]}
    short = {name: bundle(f"{name}-run", ["/bin/true"]) for name in programs}
    long = {name: bundle(f"{name}-exec", ["/bin/sleep", "100000"]) for name in programs}
    for name in programs:
        subprocess.run([*head[name], "run", "--detach", "--bundle", long[name], "long"], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for n in range(-2, rounds):
        for name in programs:
            run = once([*head[name], "run", "--bundle", short[name], f"short{n + 2}"])
            ex = once([*head[name], "exec", "long", "/bin/true"])
            if n >= 0:  # the first ones fill the caches, and the emulator's
                times["run"][name].append(run)
                times["exec"][name].append(ex)
    for name in programs:
        subprocess.run([*head[name], "delete", "--force", "long"], check=True)
    print(f"Linux {os.uname().release}, medians of {rounds}, and the middle half")
    for what, of in times.items():
        ours = statistics.median(of["stockade"])
        for name, all_of in of.items():
            low, middle, high = statistics.quantiles(all_of, n=4)
            print(f"{what:5} {name:9} {middle * 1000:7.0f} ms ({low * 1000:.0f} to {high * 1000:.0f}), "
                  f"{middle / ours:.2f} times stockade's")


main()
