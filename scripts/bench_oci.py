"""The part `oci` of scripts/bench: stockade as an OCI runtime, side by side with runc and crun.

Every runtime runs the same bundle: busybox, and the config.json that Docker 20.10 writes
(docker-config.json, with its seccomp profile; without its hook, which is dockerd itself).
"""

import contextlib
import ctypes
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SCRIPTS = os.path.dirname(os.path.abspath(__file__))
AT_ONCE = 20

# The bars: times of ours, as a share of the time of Debian's.
RUN = {"crun": 1 / 4, "runc": 1 / 8}
COLD = {"crun": 1 / 4, "runc": 1 / 10}
EXEC = {"crun": round(1 / 1.5, 3)}
MOUNTS = 1.3
RSS_MB = 2.5


def without_unified():
    """Puts this process into a mount namespace without the v2 hierarchy, if there are v1 ones
    beside it: crun refuses such a host as soon as v2 has any controller. All runtimes are
    measured in there. What is above the hierarchies is new as well: crun makes a directory there
    for each controller that it does not find, and the host's own has to stay as it is."""
    above, v2 = "/sys/fs/cgroup", "unified"
    libc = ctypes.CDLL(None, use_errno=True)

    def must(result, what):
        if result:
            sys.exit(f"bench: {what}: {os.strerror(ctypes.get_errno())}")

    new_mount_namespace, private = 0x20000, 1 << 18
    bind, recursive, detach = 1 << 12, 1 << 14, 2
    must(libc.unshare(new_mount_namespace), "a mount namespace")
    must(libc.mount(None, b"/", None, private | recursive, None), "private mounts")
    if not os.path.ismount(f"{above}/{v2}"):
        return
    place = tempfile.mkdtemp(prefix="bench-cgroups-")
    must(libc.mount(b"none", place.encode(), b"tmpfs", 0, None), "a tmpfs")
    for name in os.listdir(above):
        source, target = f"{above}/{name}", f"{place}/{name}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.ismount(source) and name != v2:
            os.mkdir(target)
            must(libc.mount(source.encode(), target.encode(), None, bind, None), source)
    must(libc.mount(place.encode(), above.encode(), None, bind | recursive, None), above)
    must(libc.umount2(place.encode(), detach), place)
    os.rmdir(place)
    print(f"{above}/{v2} is hidden from all of them: crun refuses hybrid hosts")


def config(args, cgroup):
    with open(f"{SCRIPTS}/docker-config.json") as text:
        spec = json.load(text)
    spec["process"]["args"] = args
    spec["linux"]["cgroupsPath"] = cgroup
    return spec


class Runtime:
    def __init__(self, name, program, place, cgroup, states):
        self.name, self.place = name, f"{place}/{name}"
        self.cgroup = f"{cgroup}/{name}"
        self.head = [program, "--root", f"{states}/{name}"]

    def bundle(self, name, args):
        """A bundle of its own. The rootfs is shared: nothing writes to it."""
        path = pathlib.Path(self.place, name)
        path.mkdir(parents=True)
        spec = config(args, f"{self.cgroup}-{name}")
        spec["root"]["path"] = f"{os.path.dirname(self.place)}/rootfs"
        for mount in spec["mounts"]:
            if mount["type"] == "bind":
                mount["source"] = str(path / mount["source"])
                pathlib.Path(mount["source"]).touch()
        (path / "config.json").write_text(json.dumps(spec))
        return str(path)

    def verb(self, *args):
        return [*self.head, *args]

    def run(self, bundle, *options):
        return self.verb("run", "--bundle", bundle, *options, f"{self.name}-{os.path.basename(bundle)}")


def runtimes(stockade, place, cgroup, states):
    found = {"stockade": shlex.split(stockade)[0]}
    for name in ["crun", "runc", "youki"]:
        program = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
        if program:
            found[name] = program
    return {name: Runtime(name, program, place, cgroup, states) for name, program in found.items()}


def measure(b, stockade, tools):
    """All of it. `tools` is the bench's own module: hyperfine, high_water and the rest."""
    subprocess.run([f"{SCRIPTS}/install-deps", "clients"], check=True)
    without_unified()
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-oci-"))
        cgroup = f"/bench-oci-{os.getpid()}"
        stack.callback(remove_cgroups, cgroup)
        subprocess.run([f"{SCRIPTS}/make-rootfs", f"{place}/rootfs"], check=True)
        # On a tmpfs, as the places are that all of them have by default (/run).
        states = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-oci-", dir="/dev/shm"))
        all_of = runtimes(stockade, place, cgroup, states)
        for runtime in all_of.values():
            print(f"{runtime.name}: {tools.text_of(runtime.head[0], '--version').splitlines()[0]}")
        if "youki" not in all_of:
            print("youki is not in PATH (cargo install youki): left out")

        short = {name: r.bundle("true", ["/bin/true"]) for name, r in all_of.items()}
        run = {name: shlex.join(r.run(short[name])) for name, r in all_of.items()}
        for title, cold, bars in [("run /bin/true", False, RUN),
                                  ("run /bin/true, cold: 300 ms after the last", True, COLD)]:
            ratios = b.compare(title, run, cold=cold)
            for name, bar in bars.items():
                if name in ratios:
                    b.bar(f"{title}: of {name}'s time", ratios[name], bar)

        steps = {name: cycle(r, short[name]) for name, r in all_of.items()}
        b.compare("create, start and delete", steps)
        execs(b, all_of)
        at_once(b, all_of)
        mounts(b, run, tools, stack.enter_context(tempfile.TemporaryDirectory()))
        memory(b, all_of, tools)


def cycle(runtime, bundle):
    name = f"{runtime.name}-cycle"
    steps = [runtime.verb("create", "--bundle", bundle, name), runtime.verb("start", name),
             runtime.verb("delete", "--force", name)]
    return shlex.join(["sh", "-c", " && ".join(map(shlex.join, steps))])


def execs(b, all_of):
    commands = {}
    with contextlib.ExitStack() as stack:
        for name, runtime in all_of.items():
            bundle = runtime.bundle("exec", ["/bin/sleep", "1000"])
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
            container = f"{name}-exec"
            subprocess.run(runtime.run(bundle, "--detach"), check=True, **quiet)
            stack.callback(subprocess.run, runtime.verb("delete", "--force", container), **quiet)
            commands[name] = shlex.join(runtime.verb("exec", container, "/bin/true"))
        ratios = b.compare("exec /bin/true", commands)
    for name, bar in EXEC.items():
        if name in ratios:
            b.bar(f"exec: of {name}'s time", ratios[name], bar)


def at_once(b, all_of):
    """Milliseconds until the last of several that were started together has ended."""
    title = f"{AT_ONCE} runs started at once"
    print(f"\n{title} ({b.args.rounds} rounds)", flush=True)
    argvs = {name: [r.run(r.bundle(f"n{n}", ["/bin/true"])) for n in range(AT_ONCE)]
             for name, r in all_of.items()}
    names, table = list(all_of), []
    for n in range(b.args.rounds):
        row = {}
        for name in names[n % len(names):] + names[:n % len(names)]:
            start = time.perf_counter()
            started = [subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                       for argv in argvs[name]]
            # All are waited for, also after one that failed.
            failed = [p.args for p in started if p.wait()]
            row[name] = (time.perf_counter() - start) * 1e3
            if failed:
                sys.exit(f"bench: {shlex.join(failed[0])} failed")
        table.append(row)
    b.results[title] = show(names, table, names[0])


def show(names, table, ours):
    rows = {}
    for name in names:
        ms = statistics.median(row[name] for row in table)
        ratio = statistics.median(row[ours] / row[name] for row in table)
        low, high = min(row[name] for row in table), max(row[name] for row in table)
        more = f"   stockade takes {ratio:.2f} times that" if name != ours else ""
        print(f"  {name:12} {ms:8.2f} ms   (rounds {low:.2f} to {high:.2f}){more}", flush=True)
        rows[name] = {"median_ms": ms, "min_ms": low, "max_ms": high, "stockade_ratio": ratio,
                      "rounds_ms": [row[name] for row in table]}
    return rows


def mounts(b, run, tools, place):
    """The same run on a host with many more mounts, in turns with one without."""
    extra = tools.EXTRA_MOUNTS
    wrapper = ["unshare", "--mount", "--propagation", "private", "bash", "-c", tools.MANY_MOUNTS,
               "bench", place, str(extra)]
    title = f"run /bin/true with {extra} more mounts on the host"
    print(f"\n{title} ({b.args.rounds} rounds of {b.args.runs} runs)", flush=True)
    names, without, with_them = list(run), [], []
    for _ in range(b.args.rounds):
        for table, around in [(without, ()), (with_them, wrapper)]:
            medians = tools.hyperfine([run[name] for name in names], b.args.runs, False, around)
            table.append(dict(zip(names, medians)))
    b.results[title] = show(names, with_them, names[0])
    for name in names:
        ratio = statistics.median(w[name] / wo[name] for w, wo in zip(with_them, without))
        b.results[title][name]["of_without"] = ratio
        print(f"  {name:12} takes {ratio:.2f} times what it takes without them")
        if name == names[0]:
            b.bar(f"run with {extra} mounts: of the time without", ratio, MOUNTS)


def memory(b, all_of, tools):
    """The most memory that the runtime's own process had in `run`."""
    print("\npeak RSS of `run` (VmHWM, most of 5 runs)")
    for name, runtime in all_of.items():
        bundle = runtime.bundle("rss", ["/bin/sleep", "0.2"])
        rss = max(tools.high_water(runtime.run(bundle)) for _ in range(5))
        print(f"  {name:12} {rss:6} KiB", flush=True)
        b.results[f"peak RSS of {name} run, KiB"] = rss
        if name == "stockade":
            b.bar("peak RSS of run", rss * 1024 / 1e6, RSS_MB, " MB")


def remove_cgroups(cgroup):
    for hierarchy in pathlib.Path("/sys/fs/cgroup").iterdir():
        directory = hierarchy / cgroup.lstrip("/")
        if directory.is_dir():
            for path in [*directory.iterdir(), directory]:
                if path.is_dir():
                    with contextlib.suppress(OSError):
                        path.rmdir()
