//! What others do with the userland of an image: a command in a root made of its layers, without SSH and without a host key. They do less.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::image::Fingerprint;

/// Where the root is, in a mount namespace of its own.
pub(crate) const ROOT: &str = "/run/bench-root";

/// The layers of an image, the lowest first.
pub(crate) fn layers(binary: &str, state: &Path, image: &str) -> Vec<Fingerprint> {
    let mut command = Command::new(binary);
    let output = command.arg("--state-path").arg(state).args(["image", "show", image, "--json"]).output().unwrap();
    let image: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let layers = image["layers"].as_array().unwrap();
    layers.iter().map(|layer| Fingerprint(layer["fingerprint"].as_str().unwrap().to_owned())).collect()
}

/// One that is measured beside us.
pub(crate) struct Peer {
    /// Its program.
    pub(crate) name: &'static str,
    /// What it is called with, for a root that is mounted at [`ROOT`].
    pub(crate) line: String,
}

impl Peer {
    /// How long it takes, making the root included; or why it cannot be measured.
    pub(crate) fn time(&self, state: &Path, layers: &[Fingerprint]) -> Result<Duration, String> {
        let Self { name, line } = self;
        let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().unwrap().status.success();
        if !found {
            return Err(format!("{name}: not installed"));
        }
        let folder = |layer: &Fingerprint| -> PathBuf { state.join("images/layers").join(&layer.0).join("fs") };
        let lower: Vec<String> = layers.iter().rev().map(|layer| folder(layer).display().to_string()).collect();
        let lower = lower.join(":");
        let mount =
            format!("mkdir -p {ROOT} && mount -t overlay -o lowerdir={lower},upperdir=$1/u,workdir=$1/w x {ROOT}");
        let scratch = tempfile::tempdir_in(state).unwrap();
        for folder in ["u", "w"] {
            std::fs::create_dir(scratch.path().join(folder)).unwrap();
        }
        let script = format!("mount -t tmpfs x /run && {mount} && exec {line}");
        let began = Instant::now();
        // In a mount namespace of its own, so that nothing is left mounted.
        let done = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(scratch.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        match done.status.success() {
            true => Ok(began.elapsed()),
            false => Err(format!("{name}: fails here ({})", String::from_utf8_lossy(&done.stderr).trim())),
        }
    }
}
