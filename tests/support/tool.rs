//! The real binary in surroundings of its own: cleared environment, own home, own state directory.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{images, leftovers};

/// The binary under test.
pub fn binary() -> &'static str {
    static BINARY: LazyLock<String> = LazyLock::new(|| crate::built("automation").to_str().unwrap().to_owned());
    &BINARY
}

/// How long an ordinary command may take on a computer that bakes an image beside it.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that a test is left out, where nobody overlooks it.
pub fn skip(reason: &str) {
    eprintln!("SKIPPED {}: {reason}", std::thread::current().name().unwrap_or("a test"));
}

/// Where the tool lives for one test.
pub struct Place {
    folder: tempfile::TempDir,
    /// The state directory.
    pub state: PathBuf,
    /// The home directory.
    pub home: PathBuf,
    definitions: Option<PathBuf>,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// With nothing in it, not even the state directory.
    pub fn new() -> Self {
        let cache = images::cache().join("places");
        std::fs::create_dir_all(&cache).unwrap();
        let folder = tempfile::Builder::new().prefix("t").tempdir_in(cache).unwrap();
        let place =
            Self { state: folder.path().join("state"), home: folder.path().join("home"), definitions: None, folder };
        std::fs::create_dir(&place.home).unwrap();
        place
    }

    /// With the small image: a base with the user `hg`, in place of `linux-dev`.
    pub fn small() -> Self {
        let definitions = images::small();
        let mut place = Self::sharing(&images::cache());
        place.definitions = Some(definitions);
        place
    }

    /// With the real image `linux-dev-debian12`.
    pub fn whole() -> Self {
        images::whole();
        Self::sharing(&images::cache())
    }

    /// With the stand-in for Windows machines; none, said as a skipped test, where there can be none.
    pub fn standin() -> Option<Self> {
        images::standin().then(|| Self::sharing(&images::cache()))
    }

    /// With the real images of these distributions.
    pub fn of(distros: &[&str]) -> Self {
        distros.iter().for_each(|distro| images::of(distro));
        Self::sharing(&images::cache())
    }

    /// With the small image and further bake steps of its own, each a name and a script.
    pub fn with_steps(steps: &[(&str, &str)]) -> Self {
        let mut place = Self::small();
        place.define(steps);
        place
    }

    /// With the real image and further bake steps of its own.
    pub fn whole_with_steps(steps: &[(&str, &str)]) -> Self {
        let mut place = Self::whole();
        let folder = place.folder.path().join("definitions");
        images::define_whole(&folder, steps);
        place.definitions = Some(folder);
        place
    }

    /// Changes the further bake steps.
    pub fn define(&mut self, steps: &[(&str, &str)]) {
        let folder = self.folder.path().join("definitions");
        images::define(&folder, steps);
        self.definitions = Some(folder);
    }

    fn sharing(cache: &Path) -> Self {
        let place = Self::new();
        private(&place.state);
        std::os::unix::fs::symlink(cache.join("images"), place.state.join("images")).unwrap();
        place
    }

    /// Gives the place a folder of images of its own, with the layers that are in the shared one: what is baked here or
    /// removed here does not touch the others.
    pub fn own_images(&self) {
        let (shared, own) = (images::cache().join("images"), self.state.join("images"));
        std::fs::remove_file(&own).unwrap();
        private(&own.join("layers"));
        // The cache also holds layers of yesterday's definitions, which nothing here would want.
        let whole = self.path().join("definitions").join("linux-dev/whole").exists();
        let baked = if whole { Self::whole() } else { Self::small() }.json(&["image", "build", "--json"]);
        for layer in baked["layers"].as_array().unwrap() {
            let name = Path::new("layers").join(layer["fingerprint"].as_str().unwrap());
            std::os::unix::fs::symlink(shared.join(&name), own.join(&name)).unwrap();
        }
    }

    /// The folder that goes with the place.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the settings.
    pub fn settings(&self, text: &str) {
        private(&self.state);
        std::fs::write(self.state.join("config.toml"), text).unwrap();
    }

    /// A command that runs the tool here.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(binary());
        clear(&mut command, &self.home);
        command.current_dir(&self.home).arg("--state-path").arg(&self.state);
        if let Some(definitions) = &self.definitions {
            command.arg("--images").arg(definitions);
        }
        command.args(arguments);
        command
    }

    /// Runs the tool to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Done {
        self.start(arguments).end()
    }

    /// Starts the tool.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Runs the tool, which must end with 0, and reads its JSON.
    pub fn json<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Value {
        self.run(arguments).expect(0).json()
    }

    /// Makes a machine; gives its id.
    pub fn up(&self, further: &[&str]) -> String {
        let done = self.run(&[&["machine", "up"], further].concat()).expect(0);
        done.text().trim().to_owned()
    }

    /// Runs a command on a machine.
    pub fn exec(&self, machine: &str, command: &[&str]) -> Done {
        self.run(&[&["machine", "exec", machine, "--"], command].concat())
    }

    /// The id of the newest run.
    pub fn latest(&self) -> String {
        self.json(&["runs", "list", "--json"])[0]["id"].as_str().unwrap().to_owned()
    }

    /// The id of the newest run of a command.
    pub fn latest_of(&self, command: &str) -> String {
        let runs = self.json(&["runs", "list", "--json"]);
        let run = runs.as_array().unwrap().iter().find(|run| run["command"] == command);
        run.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// The newest run's log of steps.
    pub fn steps(&self) -> String {
        let mut runs: Vec<PathBuf> =
            std::fs::read_dir(self.state.join("runs")).into_iter().flatten().flatten().map(|e| e.path()).collect();
        runs.sort();
        let log = runs.last().map(|run| run.join("events.log"));
        log.and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default()
    }

    /// Waits until the newest run's log of steps tells `marker`.
    pub fn wait_for_step(&self, marker: &str, running: &Running) {
        // Before it says anything, the newest run is still that of another command.
        running.wait_for(" ...");
        let end = Instant::now() + LIMIT;
        while !self.steps().contains(marker) {
            assert!(running.lives(), "ended before `{marker}`: {}", running.said());
            assert!(Instant::now() < end, "no `{marker}` in {}", self.steps());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Fails unless both the tool and the system say that nothing is left.
    pub fn assert_clean(&self) {
        let left = leftovers::of(&self.state);
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        let audit = self.run(&["audit", "--json"]).expect(0);
        assert_eq!(audit.json(), serde_json::json!([]));
    }

    /// Fails unless the run's certificate says that all it made is gone; gives the certificate.
    pub fn assert_certified(&self, run: &str) -> Value {
        let certificate = self.json(&["audit", "--run", run, "--json"]);
        assert_eq!(certificate["clean"], true, "{certificate}");
        assert_eq!(certificate["made"], certificate["gone"], "{certificate}");
        let rows = certificate["resources"].as_array().unwrap();
        assert!(rows.iter().all(|row| row["gone_at"].is_string() && row["state"] == "gone"), "{certificate}");
        certificate
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Only after a failed test: what it left must not disturb the others, and its folder must be removable.
        for (pid, _) in leftovers::processes(&self.state) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if std::fs::read_dir(self.state.join("machines")).is_ok_and(|mut entries| entries.next().is_some()) {
            drop(self.command(&["audit", "--fix"]).stdout(Stdio::null()).stderr(Stdio::null()).status());
        }
    }
}

/// Makes a folder as the tool wants its state directory.
pub fn private(path: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).unwrap();
}

/// Clears the environment but for `PATH` and a home.
pub fn clear(command: &mut Command, home: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", home);
}

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Done {
    /// By itself, or by a signal.
    pub status: ExitStatus,
    /// All of it.
    pub stdout: Vec<u8>,
    /// All of it, as text.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
}

impl Done {
    /// The exit code; 128 and more for a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.shown()))
    }

    fn shown(&self) -> String {
        let text = self.text();
        let start = text.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
        format!("status {:?}\nstdout: {}\nstderr: {}", self.status, &text[start..], self.stderr)
    }

    /// Fails unless it ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(self.code() == code, "expected exit code {code}: {}", self.shown());
        self
    }

    /// Fails unless standard error tells each of `parts`.
    #[track_caller]
    pub fn tells(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not told: {}", self.shown());
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.shown());
        self
    }
}

#[derive(Default)]
struct Heard {
    stderr: Vec<u8>,
    stdout: Vec<u8>,
    open: usize,
}

/// A process of the tool; killed when dropped.
pub struct Running {
    child: Child,
    began: Instant,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

impl Running {
    /// Starts `command` and listens to it.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::listen(command)
    }

    /// Starts `command` with its own idea of standard input.
    pub fn listen(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let heard = Arc::new((Mutex::new(Heard { open: 2, ..Heard::default() }), Condvar::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        hear(out, &heard, |heard| &mut heard.stdout);
        hear(err, &heard, |heard| &mut heard.stderr);
        Self { child, began: Instant::now(), heard }
    }

    /// The process's id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it said so far on standard error.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.heard.0.lock().unwrap().stderr).into_owned()
    }

    /// What it printed so far on standard output.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&self.heard.0.lock().unwrap().stdout).into_owned()
    }

    /// Whether it lives still.
    pub fn lives(&self) -> bool {
        self.heard.0.lock().unwrap().open > 0
    }

    /// Waits until it says `marker` on standard error or standard output.
    #[track_caller]
    pub fn wait_for(&self, marker: &str) {
        assert!(self.says(marker), "ended before it said `{marker}`: {}", self.said());
    }

    /// Waits until it says `marker`, or ends; whether it said it.
    #[track_caller]
    pub fn says(&self, marker: &str) -> bool {
        let (lock, changed) = &*self.heard;
        let end = Instant::now() + LIMIT;
        let mut heard = lock.lock().unwrap();
        let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(marker);
        while !has(&heard.stderr) && !has(&heard.stdout) {
            if heard.open == 0 {
                return false;
            }
            let rest = end.saturating_duration_since(Instant::now());
            assert!(!rest.is_zero(), "did not say `{marker}`: {}", String::from_utf8_lossy(&heard.stderr));
            heard = changed.wait_timeout(heard, rest).unwrap().0;
        }
        true
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(self) -> Done {
        self.end_within(LIMIT)
    }

    /// Waits for its end; ends it by force, and fails, when that takes longer than `limit`.
    #[track_caller]
    pub fn end_within(mut self, limit: Duration) -> Done {
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "does not end within {limit:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = self.began.elapsed();
        let (lock, changed) = &*self.heard;
        let mut heard = lock.lock().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while heard.open > 0 {
            let rest = end.saturating_duration_since(Instant::now());
            assert!(!rest.is_zero(), "somebody keeps its output open: {}", String::from_utf8_lossy(&heard.stderr));
            heard = changed.wait_timeout(heard, rest).unwrap().0;
        }
        let stderr = String::from_utf8_lossy(&heard.stderr).into_owned();
        Done { status, stdout: std::mem::take(&mut heard.stdout), stderr, took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn hear(from: impl Read + Send + 'static, heard: &Arc<(Mutex<Heard>, Condvar)>, into: fn(&mut Heard) -> &mut Vec<u8>) {
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        let mut from = BufReader::with_capacity(1 << 16, from);
        loop {
            let read = match from.fill_buf() {
                Ok(bytes) => {
                    into(&mut heard.0.lock().unwrap()).extend_from_slice(bytes);
                    bytes.len()
                }
                Err(_) => 0,
            };
            from.consume(read);
            if read == 0 {
                heard.0.lock().unwrap().open -= 1;
            }
            heard.1.notify_all();
            if read == 0 {
                return;
            }
        }
    });
}
