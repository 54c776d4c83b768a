//! Makes a base with `mmdebstrap` in a sandbox.

use std::path::{Path, PathBuf};
use std::time::Duration;

use guest::linux::{COMPILE_BASE, PREPARE_BASE};
use jiff::Timestamp;
use model::base::deadline::Deadline;
use model::base::id::MachineId;
use model::base::text;
use model::event::{StepEvent, Teller};
use model::fault::Fault;
use model::image::BaseSpec;

use crate::folders::{APT_PROXY, MachineFolder};
use crate::images::mirrors::{ChosenMirrors, source_lines, without_userinfo};
use crate::images::tools::Tools;
use crate::launch::{self, StartedGuard};
use crate::spec::{IdMap, SandboxSpec, Spec, SpecKind};
use crate::trouble::{Doing, Trouble};
use crate::{computer, init, spec};

/// How many of the last lines of `mmdebstrap` an error shows.
const REASON_LINES: usize = 4;

/// How long a base may take; a slow mirror takes minutes.
pub(crate) const BASE_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The inputs of a base.
pub(crate) struct Bootstrap<'a> {
    /// The definition of the base.
    pub base: &'a BaseSpec,
    /// The mirrors of its packages.
    pub mirrors: &'a ChosenMirrors,
    /// The programs and keys that make it.
    pub tools: &'a Tools,
}

/// The text of the configuration file of `apt` for making a base.
pub(crate) fn apt_options(proxies: &[String]) -> String {
    let own = ["Acquire::Retries \"3\";", "Acquire::http::Timeout \"30\";", "Acquire::https::Timeout \"30\";"];
    own.into_iter().chain(proxies.iter().map(String::as_str)).map(|line| format!("{line}\n")).collect()
}

impl Bootstrap<'_> {
    /// The sandbox in which the base is made, with paths as the sandbox sees them; programs that were downloaded are in
    /// `tools`.
    pub(crate) fn sandbox(&self, tools: &Path) -> SandboxSpec {
        let folder = MachineFolder::at(Path::new(init::MACHINE));
        let inside = |path: &Path| match path.strip_prefix(tools) {
            Ok(rest) => Path::new(init::TOOLS).join(rest).display().to_string(),
            Err(_) => path.display().to_string(),
        };
        let mut command: Vec<String> = self.tools.mmdebstrap.iter().map(|word| inside(Path::new(word))).collect();
        command.extend(["--mode=root", "--format=directory", "--variant=minbase"].map(str::to_owned));
        command.push(format!("--components={}", self.base.components.join(",")));
        command.extend(self.tools.keyrings.iter().map(|keyring| format!("--keyring={}", inside(keyring))));
        // Ubuntu does not count `apt` among the packages that every system requires.
        let packages = self.base.packages.iter().map(String::as_str);
        let packages: Vec<&str> = std::iter::once("apt").chain(packages.filter(|name| *name != "apt")).collect();
        command.push(format!("--include={}", packages.join(",")));
        // The options are in a file, because everybody may read the arguments of a process, and a proxy may have a
        // password.
        command.push(format!("--aptopt={}", folder.apt_conf().display()));
        // Otherwise `apt` gives `dpkg` a search path without the folder into which `PREPARE_BASE` puts a program.
        command.push(format!("--aptopt=DPkg::Path \"{}\";", computer::SYSTEM_PATH));
        // The scripts are in the environment: `mmdebstrap` first looks for a file with the name of the hook, and a
        // script of several lines is not a file name.
        command.extend(["--essential-hook=eval \"$PREPARE\"", "--customize-hook=eval \"$COMPILE\""].map(str::to_owned));
        command.push(self.base.suite.clone());
        command.push(folder.root().display().to_string());
        command.extend(source_lines(self.base, self.mirrors, None));
        let env = [
            ("TMPDIR", folder.tmp().display().to_string()),
            ("PATH", computer::SYSTEM_PATH.to_owned()),
            ("HOME", "/root".to_owned()),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("DEBIAN_FRONTEND", "noninteractive".to_owned()),
            ("PREPARE", PREPARE_BASE.to_owned()),
            ("COMPILE", COMPILE_BASE.to_owned()),
        ];
        SandboxSpec { command, env: env.map(|(name, value)| (name.to_owned(), value)).to_vec() }
    }

    /// Writes the files of every base: the sources of its packages, and the policy that no package may start a daemon.
    pub(crate) fn furnish(&self, root: &Path) -> Result<(), Trouble> {
        let signed_by = crate::images::mirrors::KEYRING_NAMES
            .iter()
            .map(|ending| format!("/usr/share/keyrings/{}-archive-keyring.{ending}", self.base.family))
            .find(|path| root.join(path.trim_start_matches('/')).exists());
        let sources = source_lines(self.base, self.mirrors, signed_by.as_deref()).join("\n") + "\n";
        write(&root.join("etc/apt/sources.list"), &sources, 0o644)?;
        super::remove_file(&root.join("etc/apt/apt.conf.d/99mmdebstrap"))?;
        // A boot on the host's network mounts the host's proxies over it.
        write(&root.join(APT_PROXY.trim_start_matches('/')), "", 0o644)?;
        // While an image is baked, the machine is on the host's network, where its SSH server must not take port 22.
        write(&root.join("usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n", 0o755)?;
        // `mmdebstrap` copies the host's files; each boot mounts its own over them.
        for name in ["hostname", "resolv.conf", "hosts"] {
            let path = root.join("etc").join(name);
            if !path.is_symlink() {
                write(&path, "", 0o644)?;
            }
        }
        Ok(())
    }

    /// The fault that says why `mmdebstrap` failed, from its last lines.
    fn failure(&self, status: i32, console: &Path) -> Fault {
        let output = without_userinfo(&launch::tail(console, 400).unwrap_or_default());
        let lost = [
            "Could not resolve",
            "Could not connect",
            "Unable to connect",
            "Temporary failure resolving",
            "Connection timed out",
            "Connection failed",
            "Network is unreachable",
            "Connection refused",
        ];
        let telling = |line: &&str| line.starts_with("E: ") || line.starts_with("W: ") || line.starts_with("Err:");
        let cause = last_in_one(&output.lines().filter(telling).collect::<Vec<_>>().join("\n"));
        if output.lines().any(|line| lost.iter().any(|sign| line.contains(sign))) {
            let mirror = without_userinfo(&self.mirrors.main);
            return Fault::outside(format!("cannot reach the package mirror `{mirror}`")).because(cause).hint(format!(
                "Check the network and the proxy, or name another mirror in the settings (`local.{}-mirror`).",
                self.base.family
            ));
        }
        Fault::outside(format!("`mmdebstrap` ended with status {status} while it made `{}`", self.base.suite))
            .because(if cause.is_empty() { last_in_one(&output) } else { cause })
    }

    /// Waits until `mmdebstrap` is done; meanwhile passes its lines on and renews the sandbox's lease.
    pub(crate) async fn watch(
        &self,
        launched: &mut StartedGuard,
        folder: &MachineFolder,
        grace: Duration,
        teller: &Teller,
    ) -> Result<(), Fault> {
        let deadline = Deadline::after(BASE_LIMIT, format!("`mmdebstrap` to make `{}`", self.base.suite));
        let mut lines = ConsoleReader { path: folder.console(), offset: 0, rest: String::new() };
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        let renewal = (grace / 4).clamp(Duration::from_secs(1), Duration::from_secs(15));
        let mut renewed = tokio::time::Instant::now();
        let finished = deadline.bound(async {
            let finished = launched.wait_until_finished();
            tokio::pin!(finished);
            loop {
                tokio::select! {
                    status = &mut finished => return status,
                    _ = tick.tick() => lines.pass_on(teller),
                }
                if renewed.elapsed() >= renewal {
                    launch::write_lease(folder, (Timestamp::now() + grace).as_second())?;
                    renewed = tokio::time::Instant::now();
                }
            }
        });
        let status = finished.await??;
        lines.pass_on(teller);
        if status == 0 { Ok(()) } else { Err(self.failure(status, &folder.console())) }
    }
}

/// The last lines of `text` as one.
fn last_in_one(text: &str) -> String {
    text::last_lines(text, REASON_LINES).replace('\n', "; ")
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Trouble> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
        .doing(|| format!("write `{}`", path.display()))
}

/// Reads a file that grows.
struct ConsoleReader {
    path: PathBuf,
    offset: u64,
    rest: String,
}

impl ConsoleReader {
    /// Passes on every new whole line.
    fn pass_on(&mut self, teller: &Teller) {
        use std::io::{Read, Seek, SeekFrom};
        let Ok(mut file) = std::fs::File::open(&self.path) else { return };
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.offset)).is_err() || file.read_to_end(&mut bytes).is_err() {
            return;
        }
        self.offset += bytes.len() as u64;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            let line = line.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or_default().trim_end();
            if !line.is_empty() {
                teller.tell(StepEvent::Said { line: without_userinfo(line) });
            }
        }
    }
}

/// The specification of the sandbox `machine`.
pub(crate) fn specify(
    state: &Path,
    machine: &MachineId,
    sandbox: SandboxSpec,
    ids: Option<IdMap>,
    grace: Duration,
) -> Spec {
    let now = Timestamp::now().as_second();
    let grace = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX / 4);
    let limit = i64::try_from(BASE_LIMIT.as_secs()).unwrap_or(i64::MAX / 4);
    spec::Spec {
        id: machine.clone(),
        state: state.to_owned(),
        kind: SpecKind::Sandbox(sandbox),
        ids,
        grace,
        lease: now.saturating_add(grace),
        expires_at: now.saturating_add(limit).saturating_add(grace),
        idle: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::Folders;

    #[test]
    fn no_proxy_stands_among_the_arguments_or_in_the_base() {
        let state = tempfile::tempdir().unwrap();
        let folders = Folders::new(state.path());
        let base = BaseSpec {
            family: "debian".into(),
            suite: "bookworm".into(),
            suites: vec!["bookworm".into()],
            security_suite: None,
            components: vec!["main".into()],
            packages: vec!["sudo".into()],
        };
        let mirrors = ChosenMirrors { main: "http://m/debian".into(), security: "http://m/security".into() };
        let keyrings = vec![folders.tools().join("keys.gpg")];
        let tools = Tools { mmdebstrap: vec!["mmdebstrap".into()], keyrings };
        let bootstrap = Bootstrap { base: &base, mirrors: &mirrors, tools: &tools };
        let sandbox = bootstrap.sandbox(&folders.tools());
        assert!(sandbox.command.contains(&"--aptopt=/tmp/machine/apt.conf".to_owned()), "{sandbox:?}");
        assert!(sandbox.command.contains(&"--keyring=/tmp/tools/keys.gpg".to_owned()), "{sandbox:?}");
        let text = apt_options(&["Acquire::http::Proxy \"http://u:secret@p\";".to_owned()]);
        assert!(text.starts_with("Acquire::Retries") && text.ends_with("u:secret@p\";\n"), "{text}");

        let root = state.path().join("root");
        for inner in ["etc/apt/apt.conf.d", "usr/sbin"] {
            std::fs::create_dir_all(root.join(inner)).unwrap();
        }
        std::fs::write(root.join("etc/apt/apt.conf.d/99mmdebstrap"), text).unwrap();
        bootstrap.furnish(&root).unwrap();
        let left: Vec<_> = std::fs::read_dir(root.join("etc/apt/apt.conf.d")).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(std::fs::read_to_string(left[0].path()).unwrap(), "");
    }

    fn hook(script: &str, root: &Path) -> bool {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "eval \"$HOOK\"", "exec"]).arg(root).env("HOOK", script).status().unwrap().success()
    }

    #[test]
    fn documentation_goes_and_byte_compiling_waits_until_all_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (file, is_kept) in [
            ("share/doc/dash/copyright", true),
            ("share/doc/dash/changelog.gz", false),
            ("share/man/man1/sh.1.gz", false),
            ("share/locale/de/LC_MESSAGES/dpkg.mo", false),
            ("share/locale/locale.alias", true),
            ("share/perl/doc.pm", true),
        ] {
            let path = root.join("usr").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, if is_kept { "stays\n" } else { "goes\n" }).unwrap();
        }
        for inner in ["etc/dpkg/dpkg.cfg.d", "usr/local/sbin"] {
            std::fs::create_dir_all(root.join(inner)).unwrap();
        }
        assert!(hook(PREPARE_BASE, root));
        let found =
            std::process::Command::new("grep").arg("-rh").arg(".").arg(root.join("usr/share")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "stays\nstays\nstays\n");
        let rules = std::fs::read_to_string(root.join("etc/dpkg/dpkg.cfg.d/90-left-out")).unwrap();
        assert!(
            rules.starts_with("path-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n"),
            "{rules}"
        );
        let shadow = root.join("usr/local/sbin/py3compile");
        assert!(std::process::Command::new(&shadow).args(["-p", "python3-x"]).status().unwrap().success());
        // The image has no Python: there is nothing to compile, and the placeholder program is removed all the same.
        assert!(hook(COMPILE_BASE, root) && !shadow.exists());
    }
}
