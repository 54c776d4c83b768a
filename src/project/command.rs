//! A user's command, on a Linux machine, in the files of a folder.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use guest::{self, linux};
use model::base::quote;
use model::event::{FilesEvent, Teller};
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::filesystem::Filesystem;
use model::machine::{Machine, Platform};
use model::output::Output;
use model::preparation::{FilesToSend, Job, Preparation, SecretFile, Tenancy, UserCommand};
use model::script::ScriptFile;
use model::task::{Command, StepCommand, Terminal};
use model::work::Work;
use serde::{Deserialize, Serialize};

use crate::history::PackedHistory;
use crate::source::Source;
use crate::turn::{PATIENCE, Turn};
use crate::work_folder;

/// The script that does all that is done on a machine.
const SCRIPT: &str = "run-command.sh";

/// A folder that every Linux has in memory, so that nothing in it comes to a disk.
const MEMORY: &str = "/dev/shm";

const OWN_FILES: [ScriptFile; 5] = [
    ScriptFile::built_in("mask_secrets.py", include_str!("../../remote/runners/mask_secrets.py")),
    ScriptFile::built_in(SCRIPT, include_str!("../../remote/runners/run-command.sh")),
    work_folder::SCRIPT,
    work_folder::CLEANUP,
    linux::HOLD,
];

/// Names that the machine's shell keeps for itself: it refuses to set them.
const KEPT: [&str; 8] = ["BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID", "_", "TMPDIR"];

/// Refuses what cannot be the name of a variable for a command.
pub fn check_variable(name: &str) -> Result<(), String> {
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !begins || !name.chars().all(|each| each.is_ascii_alphanumeric() || each == '_') {
        return Err(format!("`{name}` is not the name of a variable: letters, digits and `_`, no digit first"));
    }
    match KEPT.contains(&name) {
        true => Err(format!("`{name}` is set by the machine itself")),
        false => Ok(()),
    }
}

/// The longest a command runs where nothing is said.
const RUN_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// A command with the folder that it works on.
#[derive(Debug, Clone)]
pub struct FolderCommand {
    /// The files; none where they are on the machine already.
    pub source: Option<Arc<Source>>,
    /// The history that travels with them; none for none.
    pub history: Option<Arc<PackedHistory>>,
    /// The program and its arguments; at least the program.
    pub words: Vec<String>,
    /// Variables for it.
    pub env: Vec<(String, String)>,
    /// The folder in which it runs, below the source; empty for its top.
    pub workdir: String,
    /// Further variables, whose values nobody may see.
    pub secrets: Secrets,
    /// What it reads on standard input.
    pub input: Arc<[u8]>,
    /// How long to wait for another run on somebody else's machine.
    pub patience: Duration,
    /// Whether what is in the machine's work folder is brought up to date.
    pub again: bool,
    /// Whether it stays there, because the machine is ours and stays.
    pub stays: bool,
}

/// Variables whose values are not shown, written down or kept.
#[derive(Clone, Default)]
pub struct Secrets(Vec<(String, String)>);

/// The shortest secret, bytes: a shorter one stands in every output by chance, and masking it would only show where.
pub const LEAST_SECRET: usize = 4;

impl Secrets {
    /// Adds one, or says why it cannot be one.
    pub fn add(&mut self, name: &str, value: String) -> Result<(), String> {
        if value.len() < LEAST_SECRET {
            return Err(format!("it has less than {LEAST_SECRET} bytes, too little to be masked in the output"));
        }
        if value.contains('\0') {
            return Err("it has a NUL byte".to_owned());
        }
        self.0.retain(|(other, _)| other != name);
        self.0.push((name.to_owned(), value));
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// What is kept with a run, so that another process can follow its command. The values of its variables are not.
#[derive(Debug, Serialize, Deserialize)]
struct KeptSettings {
    words: Vec<String>,
    workdir: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stays: bool,
}

impl FolderCommand {
    /// The system of the machines that it runs on.
    pub const PLATFORM: Platform = Platform::Linux;

    /// The command that [`UserCommand::settings`] describes; it was begun already.
    pub fn from_settings(settings: &serde_json::Value) -> Result<Self, Fault> {
        let KeptSettings { words, workdir, stays } = KeptSettings::deserialize(settings)
            .map_err(|error| Fault::outside("cannot read what was kept of the command").because(error))?;
        let (secrets, input) = (Secrets::default(), Arc::default());
        Ok(Self {
            source: None,
            history: None,
            words,
            env: Vec::new(),
            secrets,
            input,
            workdir,
            patience: PATIENCE,
            again: stays,
            stays,
        })
    }

    fn call(folder: &str, verb: &str) -> Command {
        guest::of(Self::PLATFORM).script(&format!("{folder}/{SCRIPT}")).arg(verb)
    }

    /// The call of the script that runs the command, by this verb.
    fn call_with_command(&self, folder: &str, verb: &str) -> Command {
        let variables = self.env.iter().map(|(name, value)| format!("{name}={value}"));
        Self::call(folder, verb)
            .arg(&self.workdir)
            .arg(self.secrets(folder).map_or_else(|| "-".to_owned(), |secrets| secrets.path))
            .arg(self.env.len().to_string())
            .args(variables)
            .args(self.words.iter().cloned())
    }
}

#[async_trait]
impl Preparation for FolderCommand {
    fn files(&self) -> Vec<ScriptFile> {
        OWN_FILES.to_vec()
    }

    fn set_up(&self, folder: &str, _: &Machine) -> Vec<Job> {
        let work = Work::Preparing { folder: work_folder::WORK.to_owned(), filesystem: Filesystem::Default };
        let kept = self.source.iter().filter(|_| self.again).flat_map(|source| work_folder::project(source));
        let histories = self.history.iter().filter(|_| self.again).flat_map(|history| history.places());
        let command = Self::call(folder, "prepare").args(kept).args(histories.map(str::to_owned));
        let preparing = Job::Step(Box::new(StepCommand { work, command, limit: work_folder::PREPARE_LIMIT }));
        let sending = self.source.as_ref().filter(|source| !source.is_empty()).map(|source| {
            let (from, paths) = (source.top.clone(), source.paths.clone());
            let (name, to) = (from.display().to_string(), work_folder::SOURCE.to_owned());
            let memory = self.again.then(|| work_folder::memory(""));
            Job::SendFiles(Box::new(FilesToSend { name, from, paths, to, memory }))
        });
        // Behind the files: a repository within the source has its folder among them.
        let histories = self.history.iter().flat_map(|history| history.send(work_folder::SOURCE, self.again));
        [preparing].into_iter().chain(sending).chain(histories).collect()
    }

    async fn send(&self, _: &Path, _: &Teller) -> Result<(), Fault> {
        // The files go over the connection that is there: `Job::SendFiles`.
        Ok(())
    }

    fn explain(&self, step: &StepCommand, done: &Output) -> Option<Fault> {
        let kind = if matches!(done.exit, Exit::Lost(_)) { FaultKind::Infrastructure } else { FaultKind::Outside };
        let fault = Fault::new(kind, format!("`{}` failed with {}", step.work.words(), done.exit));
        let said = done.stderr_text();
        Some(if said.is_empty() { fault } else { fault.because(said) })
    }

    fn remark(&self, _: &StepCommand, done: &Output) -> Option<FilesEvent> {
        work_folder::replaced(done)
    }

    fn brings(&self) -> Option<String> {
        self.source.as_ref().map(|source| source.outline())
    }

    fn place(&self) -> Option<String> {
        let folder = format!("{}/{}", work_folder::SOURCE, self.workdir);
        let folder = quote::word(folder.trim_end_matches('/')).ok()?;
        // Values of variables may be anybody's business, and are not shown.
        Some(format!("cd {folder} && exec env TMPDIR={}/tmp bash", work_folder::WORK))
    }

    fn tenancy(&self) -> Option<Box<dyn Tenancy>> {
        Some(Box::new(Turn { patience: self.patience, ..work_folder::turn(self.stays) }))
    }
}

impl UserCommand for FolderCommand {
    fn settings(&self) -> serde_json::Value {
        let settings = KeptSettings { words: self.words.clone(), workdir: self.workdir.clone(), stays: self.stays };
        // Texts and lists of them can always be written as JSON.
        serde_json::to_value(settings).unwrap_or_default()
    }

    fn root(&self) -> &str {
        work_folder::SOURCE
    }

    fn run(&self, folder: &str) -> StepCommand {
        let command = self.call_with_command(folder, "run").stdin(self.input.to_vec());
        StepCommand { work: Work::RunningCommand { line: self.line() }, command, limit: RUN_LIMIT }
    }

    fn run_on_terminal(&self, folder: &str, terminal: Terminal) -> Command {
        self.call_with_command(folder, "talk").terminal(terminal)
    }

    fn secrets(&self, folder: &str) -> Option<SecretFile> {
        let name = folder.rsplit('/').next().unwrap_or(folder);
        let folder = format!("{MEMORY}/{name}");
        let values = self.secrets.0.iter().flat_map(|(name, value)| format!("{name}={value}\0").into_bytes());
        let (path, bytes) = (format!("{folder}/secrets"), values.collect());
        (!self.secrets.is_empty()).then_some(SecretFile { folder, path, bytes })
    }

    fn excuse_file(&self, folder: &str) -> String {
        format!("{folder}/not-run")
    }

    fn line(&self) -> String {
        // A line for the shell is what its user knows; the name behind it is of no interest.
        if let [bash, option, line, rest @ ..] = self.words.as_slice()
            && (bash.as_str(), option.as_str()) == ("bash", "-c")
        {
            let further = rest.get(1..).unwrap_or_default();
            return [std::slice::from_ref(line), further].concat().join(" ");
        }
        // Of words with a NUL byte no command can be made, and they are shown as they are.
        quote::join(&self.words).unwrap_or_else(|_| self.words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str], env: &[(&str, &str)]) -> FolderCommand {
        FolderCommand {
            source: None,
            history: None,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            workdir: "sub".to_owned(),
            secrets: Secrets::default(),
            input: Arc::default(),
            patience: PATIENCE,
            again: false,
            stays: false,
        }
    }

    #[test]
    fn words_travel_as_they_are_and_values_are_not_kept() {
        let command = command(&["make", "a b", "$x", "--"], &[("TOKEN", "one\ntwo"), ("EMPTY", "")]);
        let step = command.run("/f");
        assert_eq!(
            step.command.args[1..],
            ["run", "sub", "-", "2", "TOKEN=one\ntwo", "EMPTY=", "make", "a b", "$x", "--"]
        );
        assert!(step.command.env.is_empty());
        let kept = command.settings();
        assert!(!kept.to_string().contains("TOKEN"), "{kept}");
        let again = FolderCommand::from_settings(&kept).unwrap();
        assert_eq!((again.line(), again.workdir.as_str()), (command.line(), "sub"));
        assert!(FolderCommand::from_settings(&serde_json::Value::Null).is_err());
    }

    #[test]
    fn a_secret_is_in_its_file_and_nowhere_else() {
        let mut command = command(&["make"], &[]);
        assert!(
            command.secrets.add("A", "abc".to_owned()).is_err()
                && command.secrets.add("A", "a\0bc".to_owned()).is_err()
        );
        for value in ["hidden", "hunter22"] {
            command.secrets.add("A", value.to_owned()).unwrap();
        }
        let file = command.secrets("/tmp/run-1").unwrap();
        assert_eq!((file.path.as_str(), file.bytes.as_slice()), ("/dev/shm/run-1/secrets", &b"A=hunter22\0"[..]));
        let step = command.run("/tmp/run-1");
        assert_eq!(step.command.args[1..], ["run", "sub", "/dev/shm/run-1/secrets", "0", "make"]);
        let shown = format!("{command:?} {step:?} {}", command.settings());
        assert!(!shown.contains("hunter22") && shown.contains("[\"A\"]"), "{shown}");
    }
}
