//! The history of a source, made anew for a machine: what is committed, with all that `git` or `hg` needs to work in the folder there, and
//! nothing that is this computer's alone.

mod git;
mod hg;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::base::text;
use model::fault::Fault;
use model::preparation::{FilesToSend, Job};

use crate::source::{Control, Source, root_around};
use crate::work_folder;

/// How long packing a history may take.
const PACKING: Duration = Duration::from_secs(3600);

/// The histories of a folder's repositories, looked at and not packed yet.
#[derive(Debug, Clone)]
pub struct History {
    top: PathBuf,
    /// The repositories by their paths below the top; the top itself is the first.
    repositories: Vec<(PathBuf, Control)>,
    /// How many revisions they have.
    pub revisions: u64,
    /// How many bytes they take here, about as many as are sent.
    pub bytes: u64,
    /// What their user should know.
    pub remarks: Vec<String>,
}

/// What is known of one repository before it is packed.
#[derive(Debug, Default)]
struct Outlook {
    revisions: u64,
    bytes: u64,
    remark: Option<String>,
}

/// Histories as they travel.
#[derive(Debug, Clone)]
pub struct PackedHistory {
    parts: Vec<Part>,
}

/// What version control keeps for one repository.
#[derive(Debug, Clone)]
struct Part {
    /// What it is, in words.
    name: String,
    /// The folder of it here.
    from: PathBuf,
    paths: Vec<PathBuf>,
    /// Its place below the source.
    at: String,
}

impl History {
    /// Looks at the histories of a source; refuses what has none, and what cannot be made whole elsewhere.
    pub async fn of(source: &Source) -> Result<Self, Fault> {
        let top = source.top.clone();
        if !source.repositories.contains_key(Path::new("")) {
            return Err(no_history(&top));
        }
        let mut history = Self { top, repositories: Vec::new(), revisions: 0, bytes: 0, remarks: Vec::new() };
        for (path, control) in &source.repositories {
            let folder = below(&history.top, path);
            let outlook = match control {
                Control::Git => git::look(&folder).await?,
                Control::Hg => hg::look(&folder).await?,
                Control::Jj => return Err(of_jj(&folder)),
            };
            place(path, *control)?;
            history.revisions += outlook.revisions;
            history.bytes += outlook.bytes;
            history.remarks.extend(outlook.remark);
            history.repositories.push((path.clone(), *control));
        }
        Ok(history)
    }

    /// How much it is, in words.
    pub fn outline(&self) -> String {
        let of = match self.repositories.len() {
            0 | 1 => String::new(),
            several => format!(" of {several} repositories"),
        };
        format!("its history: {}{of}, about {}", text::pluralize(self.revisions, "revision"), text::bytes(self.bytes))
    }

    /// Packs it into `folder`, which is not there yet.
    pub async fn pack(&self, folder: &Path) -> Result<PackedHistory, Fault> {
        make(folder)?;
        let mut parts = Vec::new();
        for (number, (path, control)) in self.repositories.iter().enumerate() {
            let (top, from) = (below(&self.top, path), folder.join(number.to_string()));
            make(&from)?;
            match control {
                Control::Git => git::pack(&top, &from).await?,
                Control::Hg => hg::pack(&top, &from).await?,
                Control::Jj => return Err(of_jj(&top)),
            }
            let name = format!("the history of {}", top.display());
            parts.push(Part { name, paths: listing(&from)?, from, at: place(path, *control)? });
        }
        Ok(PackedHistory { parts })
    }
}

impl PackedHistory {
    /// The places of its parts below the source.
    pub(crate) fn places(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.at.as_str())
    }

    /// The jobs that bring it to the folder `source` of a machine; where it `syncs`, only what is not there.
    pub(crate) fn send(&self, source: &str, syncs: bool) -> impl Iterator<Item = Job> {
        self.parts.iter().map(move |part| {
            let (from, paths, to) = (part.from.clone(), part.paths.clone(), format!("{source}/{}", part.at));
            let memory = syncs.then(|| work_folder::memory(&part.at));
            Job::SendFiles(Box::new(FilesToSend { name: part.name.clone(), from, paths, to, memory }))
        })
    }
}

/// The folder at a path below another; the other one where the path is empty, without a slash behind it.
fn below(top: &Path, path: &Path) -> PathBuf {
    top.components().chain(path.components()).collect()
}

/// The place of a repository's history below the source.
fn place(path: &Path, control: Control) -> Result<String, Fault> {
    let own = match control {
        Control::Git => ".git",
        Control::Hg => ".hg",
        Control::Jj => ".jj",
    };
    let place = path.join(own);
    place.to_str().map(str::to_owned).ok_or_else(|| {
        Fault::usage(format!("the history of `{}` cannot be sent", path.display()))
            .because("the name of its folder is not UTF-8")
    })
}

fn no_history(top: &Path) -> Fault {
    match root_around(top) {
        Some(root) => {
            let fault = Fault::usage(format!(
                "`--history` sends a whole repository, and `{}` is a part of `{}`",
                top.display(),
                root.display()
            ));
            let below = top.strip_prefix(root).unwrap_or(top).display();
            fault.hint(format!("Send all of it: `--source {} --workdir {below}`.", root.display()))
        }
        None => Fault::usage(format!("`{}` is under no version control, and has no history", top.display()))
            .hint("Leave `--history` out."),
    }
}

fn of_jj(folder: &Path) -> Fault {
    Fault::usage(format!("the history of `{}` cannot be sent", folder.display()))
        .because("it is jj's own, without Git beside it")
        .hint("`jj git colocation enable` lets Git's lie beside it, which can.")
}

/// The fault of something that could not be done with a file of a history.
fn failed(verb: &str, path: &Path, error: impl std::fmt::Display) -> Fault {
    Fault::outside(format!("cannot {verb} `{}` for the history", path.display())).because(error.to_string())
}

fn make(folder: &Path) -> Result<(), Fault> {
    std::fs::create_dir_all(folder).map_err(|error| failed("make", folder, error))
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
    if let Some(above) = path.parent() {
        make(above)?;
    }
    std::fs::write(path, bytes).map_err(|error| failed("write", path, error))
}

/// Copies a file where there is one.
fn copy(from: &Path, to: &Path) -> Result<bool, Fault> {
    if let Some(above) = to.parent() {
        make(above)?;
    }
    match std::fs::copy(from, to) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("read", from, error)),
    }
}

/// All that is in a folder, a folder before its entries.
fn listing(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let (mut paths, mut todo) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(at) = todo.pop() {
        let here = folder.join(&at);
        for entry in std::fs::read_dir(&here).map_err(|error| failed("read", &here, error))? {
            let entry = entry.map_err(|error| failed("read", &here, error))?;
            let path = at.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(path.clone());
            }
            paths.insert(path);
        }
    }
    Ok(paths.into_iter().collect())
}
