//! The dockerd of these tests and what they ask it.

use super::clients::{Daemon, Place, finish, installed, patient, runtime};
use super::images;
use super::support::Run;
use super::support::live::eventually;
use nix::libc;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// The image of busybox, by its name.
pub const BUSYBOX: &str = "stockade.test/busybox:1";
/// The image of Python.
pub const PYTHON: &str = "stockade.test/python:1";

static SERIAL: AtomicU32 = AtomicU32::new(0);
static SHARED: OnceLock<Docker> = OnceLock::new();

/// A dockerd with the images.
#[derive(Debug)]
pub struct Docker {
    pub place: Place,
    daemon: Mutex<Option<Daemon>>,
}

/// The one that all tests share.
pub fn docker() -> &'static Docker {
    SHARED.get_or_init(|| {
        // SAFETY: a function that may be called at the end of the program, after main.
        assert_eq!(unsafe { libc::atexit(stop_shared) }, 0);
        Docker::start(&[])
    })
}

/// Runs when the test program ends, whatever the tests' outcome.
extern "C" fn stop_shared() {
    if SHARED.get().is_some_and(|docker| !docker.stop()) {
        // SAFETY: ends the program, as it is about to.
        unsafe { libc::_exit(101) };
    }
}

impl Docker {
    /// Starts one of its own with these options of dockerd.
    #[track_caller]
    pub fn start(options: &[&str]) -> Docker {
        let docker = Docker { place: Place::new("docker"), daemon: Mutex::new(None) };
        docker.start_daemon(options);
        docker.load_images();
        docker
    }

    /// Starts one that knows no other runtime than runc, and has this as its configuration.
    #[track_caller]
    pub fn plain(config: &str) -> Docker {
        let docker = Docker { place: Place::new("docker"), daemon: Mutex::new(None) };
        std::fs::write(docker.config_file(), config).unwrap();
        docker.start_it(&[]);
        docker
    }

    /// Its daemon.json.
    pub fn config_file(&self) -> PathBuf {
        self.place.join("daemon.json")
    }

    /// Has it read its configuration again.
    pub fn reload(&self) {
        let pid = std::fs::read_to_string(self.place.join("pid")).unwrap();
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    }

    pub fn load_images(&self) {
        for make in [images::busybox, images::python] {
            let image = make(self.place.path());
            self.run(&["load", "--quiet", "--input", image.archive.to_str().unwrap()]).exits(0);
            std::fs::remove_file(image.archive).unwrap();
        }
    }

    #[track_caller]
    pub fn start_daemon(&self, options: &[&str]) {
        std::fs::write(self.config_file(), "{}").unwrap();
        let runtime = format!("--add-runtime=stockade={}", runtime());
        self.start_it(&[&[&*runtime], options].concat());
    }

    /// The same with these options alone.
    #[track_caller]
    pub fn start_it(&self, options: &[&str]) {
        let at = |name: &str| self.place.join(name);
        let mut command = Command::new(installed("dockerd").expect("docker.io is installed"));
        for (option, name) in [
            ("--config-file", "daemon.json"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            command.arg(option).arg(at(name));
        }
        command.arg("--host").arg(self.host());
        // containerd leaves there what it has copied of a checkpoint.
        command.env("TMPDIR", self.place.path());
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent"]);
        command.arg(format!("/{}", self.place.cgroup));
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.args(["--ip-forward=false", "--ip-masq=false"]).args(options);
        let daemon = Daemon::start(command, &at("log"), || self.run(&["version"]).code == 0);
        *self.daemon.lock().unwrap() = Some(daemon);
    }

    /// Stops the daemon alone.
    #[track_caller]
    pub fn stop_daemon(&self) {
        self.daemon.lock().unwrap().take().expect("it runs").stop().unwrap();
    }

    /// Stops it, cleans up, and says whether nothing was left to clean.
    pub fn stop(&self) -> bool {
        let daemon = self.daemon.lock().unwrap_or_else(|e| e.into_inner()).take();
        // A container of `--rm` may be on its way out, and would stay if nobody waited for its shim.
        for _ in 0..100 {
            if daemon.is_none() || self.run(&["ps", "--all", "--quiet"]).stdout.trim().is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let ended = daemon.map_or(Ok(()), Daemon::stop);
        let left = self.place.leftovers();
        let _ = std::fs::remove_dir_all(self.place.path());
        if let Err(why) = &ended {
            eprintln!("dockerd: {why}");
        }
        if !left.is_empty() {
            eprintln!("left by dockerd and its runtime: {left:#?}");
        }
        ended.is_ok() && left.is_empty()
    }

    fn host(&self) -> String {
        format!("unix://{}", self.place.join("docker.sock").display())
    }

    /// `docker ARGS` as a command.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = patient("docker");
        command.env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.place.join("config"));
        command.args(args);
        command
    }

    /// `docker ARGS`, to its end.
    pub fn run(&self, args: &[&str]) -> Run {
        finish(&mut self.command(args))
    }

    /// `docker run --rm` in the foreground, without a network.
    pub fn job(&self, options: &[&str], command: &[&str]) -> Run {
        self.job_of(BUSYBOX, options, command)
    }

    pub fn job_of(&self, image: &str, options: &[&str], command: &[&str]) -> Run {
        let name = fresh_name();
        let _removed = Container { docker: self, name: name.clone(), id: String::new() };
        let head = ["run", "--rm", "--runtime", "stockade", "--network", "none", "--name", &name];
        self.run(&[&head, options, &[image], command].concat())
    }

    /// A shell script in such a container.
    pub fn sh(&self, options: &[&str], script: &str) -> Run {
        self.job(options, &["sh", "-c", script])
    }

    /// `docker run --detach`.
    #[track_caller]
    pub fn detached(&self, options: &[&str], command: &[&str]) -> Container<'_> {
        let name = fresh_name();
        let head = ["run", "--detach", "--runtime", "stockade", "--network", "none"];
        let run = self.run(&[&head, &["--name", &name][..], options, &[BUSYBOX], command].concat());
        let id = run.stdout.trim().to_owned();
        let container = Container { docker: self, name, id };
        run.exits(0);
        container
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let clean = self.stop();
        assert!(clean || std::thread::panicking(), "see above");
    }
}

pub fn fresh_name() -> String {
    format!("job-{}", SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// A container, removed when it is dropped.
#[derive(Debug)]
pub struct Container<'a> {
    docker: &'a Docker,
    pub name: String,
    pub id: String,
}

impl Container<'_> {
    /// A field of `docker inspect`, by the path of its template.
    #[track_caller]
    pub fn inspect(&self, path: &str) -> String {
        let format = format!("{{{{{path}}}}}");
        let run = self.docker.run(&["inspect", "--format", &format, &self.name]).exits(0);
        run.stdout.trim().to_owned()
    }

    /// `docker VERB OPTIONS NAME ARGS`.
    pub fn ask(&self, verb: &[&str], args: &[&str]) -> Run {
        self.docker.run(&[verb, &[&self.name], args].concat())
    }

    pub fn exec(&self, options: &[&str], command: &[&str]) -> Run {
        self.ask(&[&["exec"], options].concat(), command)
    }

    /// Everything it has printed.
    pub fn logs(&self) -> String {
        self.ask(&["logs"], &[]).stdout
    }

    /// Waits until it has printed this.
    #[track_caller]
    pub fn until(&self, text: &str) {
        eventually(&format!("{text:?} in its log"), || self.logs().contains(text));
    }

    /// Pid of its first process on the host.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.inspect(".State.Pid").parse().unwrap()
    }

    #[track_caller]
    pub fn waits_to_be(&self, state: &str) {
        eventually(state, || self.inspect(".State.Status") == state);
    }

    /// A control file of its cgroup, by the names in v1 and v2.
    #[track_caller]
    pub fn control(&self, v1: &str, v2: &str) -> String {
        self.docker.place.control(&self.id, v1, v2)
    }

    /// Where the host has a volume for it.
    pub fn cgroup_dirs(&self) -> Vec<PathBuf> {
        let all = self.docker.place.cgroups().into_iter();
        all.filter(|dir| dir.ends_with(&self.id)).collect()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.docker.run(&["rm", "--force", "--volumes", &self.name]);
    }
}
