//! The state directory: where it is, whether it can be used, what lies where in it.

use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use model::base::id::{ResourceId, RunId};
use model::base::removal::{self, EntryOwner};
use model::fault::Fault;
use model::journal::Journal;
use model::setting::Section;
use sha2::{Digest, Sha256};

use crate::builds::Builds;
use crate::file::{self, Lock};
use crate::history::{History, HistoryKey};
use crate::journal::{SqliteJournal, Unopened};
use crate::keys::{self, StoredKeyPair};
use crate::private::make_private;
use crate::run_store::RunFolders;
use crate::runs::RunDir;
use crate::settings::Settings;

/// The name of the settings file.
const SETTINGS: &str = "config.toml";

/// The files of a state directory, in the order of their removal: the one that says that it is a state directory goes
/// last.
const FILES: [&str; 8] =
    ["prices.json", SETTINGS, "id", "journal.db-wal", "journal.db-shm", "journal.db", ".lock", "layout"];

/// The layout that this build reads and writes; a higher one is refused.
const LAYOUT: u32 = 1;

/// The bytes that must fit on the disk before any work starts: those that SQLite needs to open the journal, and some
/// more.
const ROOM: usize = 64 * 1024;

/// How long to wait for another process that sets up the directory at this moment.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// A state directory that was found fit for use.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the directory at `path`, making it (mode 0700, with the folders above it) when it is missing.
    ///
    /// Fails with a [`Fault`] of kind outside when it is not a directory, not writable, on a read-only or full disk,
    /// somebody else's, writable by others, or laid out by a newer build.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        Self::open_with(path, true)
    }

    /// Opens it without asking for free space: for commands that end things or only look, which a full disk must not
    /// stop.
    pub fn open_for_cleanup(path: &Path) -> Result<Self, Fault> {
        Self::open_with(path, false)
    }

    /// Whether anything has the name of the directory `root`.
    pub fn is_there(root: &Path) -> bool {
        root.symlink_metadata().is_ok()
    }

    /// The directory at `path`, which is not there, for a command that only looks: nothing is made. It comes with the journal that it
    /// would have.
    pub fn of_nothing(path: &Path) -> Result<(Self, Arc<dyn Journal>), Fault> {
        let root = std::path::absolute(path).map_err(|error| file::fault("find", path, error))?;
        let journal = SqliteJournal::of_nothing(&root.join("journal.db"))?;
        Ok((Self { root }, Arc::new(journal)))
    }

    fn open_with(path: &Path, needs_room: bool) -> Result<Self, Fault> {
        let root = std::path::absolute(path).map_err(|error| file::fault("find", path, error))?;
        make_private(&root, "state directory")?;
        let state = Self { root };
        state.check_layout()?;
        if needs_room {
            probe(&state.root).map_err(|error| file::fault("write in the state directory", &state.root, error))?;
        }
        for folder in [state.keys(), state.images(), state.machines(), state.runs()] {
            make_private(&folder, "folder")?;
        }
        Ok(state)
    }

    /// The directory itself, an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where keys are kept.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Where image layers are kept.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The builds of what was tested that are kept.
    pub fn builds(&self) -> Builds {
        Builds::at(self.root.join("builds"))
    }

    /// How long tests took in earlier runs.
    pub fn history(&self) -> History {
        History::at(self.root.join("history"))
    }

    /// Where the files of machines are while they live.
    pub fn machines(&self) -> PathBuf {
        self.root.join("machines")
    }

    /// Where the folders of runs are.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The folders of runs, for the removal of old ones.
    pub fn run_folders(&self) -> RunFolders {
        RunFolders::at(self.runs())
    }

    /// Whether the directory `root`, which need not exist, has settings.
    pub fn has_settings(root: &Path) -> bool {
        root.join(SETTINGS).is_file()
    }

    /// The settings file of the directory `root`; neither need exist.
    pub fn settings_file_of(root: &Path) -> PathBuf {
        root.join(SETTINGS)
    }

    /// The settings file, which need not exist.
    pub fn settings_file(&self) -> PathBuf {
        Self::settings_file_of(&self.root)
    }

    /// Keeps others from changing the settings while the lock lives.
    pub fn lock_settings(&self) -> Result<Lock, Fault> {
        Lock::acquire(&self.root.join(".lock"), LOCK_LIMIT)
    }

    /// Reads the settings; `extra` are the sections of projects.
    pub fn settings(&self, extra: &[Section]) -> Result<Settings, Fault> {
        Self::settings_of(&self.root, extra)
    }

    /// The same of the directory `root`, which need not exist.
    pub fn settings_of(root: &Path, extra: &[Section]) -> Result<Settings, Fault> {
        Settings::load(&root.join(SETTINGS), extra)
    }

    /// Opens the journal, making it when it is missing.
    pub fn journal(&self) -> Result<SqliteJournal, Fault> {
        let _setup = Lock::acquire(&self.root.join(".lock"), LOCK_LIMIT)?;
        SqliteJournal::open(&self.root.join("journal.db"))
    }

    /// Opens the journal for commands that end things or only look: on a full disk, where SQLite cannot make the files
    /// that it needs beside the database, the journal is opened for this process alone; if not even that works, they go
    /// on with one that answers nothing.
    pub fn journal_for_cleanup(&self) -> Result<Arc<dyn Journal>, Fault> {
        match self.journal() {
            Ok(journal) => Ok(Arc::new(journal)),
            Err(fault) if self.is_full() => {
                let _setup = Lock::acquire(&self.root.join(".lock"), LOCK_LIMIT);
                match SqliteJournal::open_alone(&self.root.join("journal.db")) {
                    Ok(journal) => Ok(Arc::new(journal)),
                    Err(_) => Ok(Arc::new(Unopened::new(&fault))),
                }
            }
            Err(fault) => Err(fault),
        }
    }

    /// Whether its disk has at present too little room for any work to begin.
    pub fn is_full(&self) -> bool {
        probe(&self.root).is_err_and(|error| file::is_full(&error))
    }

    /// The key pair for logging in to machines, made by `make` (private and public half) when there is none.
    pub fn identity(&self, make: keys::Make<'_>, matches: keys::Matches<'_>) -> Result<StoredKeyPair, Fault> {
        let folder = self.keys();
        if !Self::is_there(&self.root) {
            return Ok(keys::of_nothing(&folder));
        }
        let _lock = Lock::acquire(&folder.join(".lock"), LOCK_LIMIT)?;
        keys::load_or_create(&folder, make, matches)
    }

    /// The name of this directory on this computer, `RANDOM.PLACE`: resources made elsewhere carry it, so that two
    /// directories of one person do not take each other's machines for lost.
    ///
    /// The first part is made on first use and kept in the file `id`, which a copy of the directory has as well; the
    /// second is derived from the computer and the path, which a copy does not share. A command that finds such a name
    /// compares the first parts.
    pub fn id(&self) -> Result<String, Fault> {
        Ok(format!("{}.{}", self.random_id()?, self.place()))
    }

    fn random_id(&self) -> Result<String, Fault> {
        let path = self.root.join("id");
        let _setup = Lock::acquire(&self.root.join(".lock"), LOCK_LIMIT)?;
        match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(file::fault("read", &path, error)),
        }
        let id = ResourceId::random().to_string().to_lowercase();
        file::write_atomic(&path, format!("{id}\n").as_bytes())?;
        Ok(id)
    }

    /// Where the directory is, in twelve digits: on which computer, under which name, at which path. It decides nothing by
    /// itself, for any of the three may change under a directory.
    fn place(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(std::fs::read("/etc/machine-id").unwrap_or_default());
        hash.update(rustix::system::uname().nodename().to_bytes_with_nul());
        hash.update(self.root.as_os_str().as_bytes());
        HEXLOWER.encode(&hash.finalize()[..6])
    }

    /// Whether [`StateDir::id`] was ever asked for.
    pub fn has_id(&self) -> bool {
        self.root.join("id").is_file()
    }

    /// Makes the folder of a new run.
    pub fn create_run(&self, id: &RunId) -> Result<RunDir, Fault> {
        RunDir::create(&self.runs(), id)
    }

    /// Opens the folder of a run.
    pub fn run(&self, id: &RunId) -> Result<RunDir, Fault> {
        RunDir::open(&self.runs(), id)
    }

    /// Removes its content except the folders of machines and images, and gives the reasons why something of ours
    /// stays. Files that are not ours stay and are added to `others`. The files by which it is known as a state
    /// directory stay as well while anything of ours does, or `more_stays` elsewhere: so the removal can be repeated.
    pub fn remove(&self, more_stays: bool, others: &mut Vec<PathBuf>) -> Vec<String> {
        let folders: [(PathBuf, removal::IsOurs); 4] = [
            (self.root.join("builds"), Builds::is_name),
            (self.root.join("history"), HistoryKey::is_name),
            (self.runs(), RunFolders::is_name),
            (self.keys(), |name| name == ".lock" || keys::is_name(name)),
        ];
        let mut left = Vec::new();
        for (folder, is_ours) in folders {
            let whose = |name: &str| {
                if is_ours(name) || file::is_temporary(name) { EntryOwner::Ours } else { EntryOwner::Others }
            };
            left.extend(removal::remove_ours(&folder, &whose, others));
        }
        if more_stays || !left.is_empty() {
            return left;
        }
        let unfinished = match self.unfinished() {
            Ok(unfinished) => unfinished,
            Err(error) => return vec![removal::stays(&self.root, &error)],
        };
        let mut files = unfinished.into_iter().chain(FILES.map(|name| self.root.join(name)));
        // The first that stays keeps those behind it, above all the one that goes last.
        let stays = files.find_map(|path| Some(removal::stays(&path, &removal::remove_tree(&path).err()?)));
        left.extend(stays);
        left
    }

    /// Files that a kill left half written.
    fn unfinished(&self) -> io::Result<Vec<PathBuf>> {
        let names = std::fs::read_dir(&self.root)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        let ours = names.iter().filter(|name| is_unfinished(&name.to_string_lossy()));
        Ok(ours.map(|name| self.root.join(name)).collect())
    }

    /// Reads the layout's number, writing it down when there is none yet.
    fn check_layout(&self) -> Result<(), Fault> {
        let path = self.root.join("layout");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return file::write_atomic(&path, format!("{LAYOUT}\n").as_bytes());
            }
            Err(error) => return Err(file::fault("read", &path, error)),
        };
        match text.trim().parse::<u32>() {
            Ok(found) if found <= LAYOUT => Ok(()),
            Ok(found) => Err(Fault::outside(format!(
                "state directory `{}` has layout {found}, and this build knows layouts up to {LAYOUT}",
                self.root.display()
            ))
            .hint("Use the newer build that wrote it, or name another directory with `--state-path`.")),
            Err(_) => Err(Fault::outside(format!("`{}` is damaged: it holds no layout number", path.display()))
                .hint(format!("Restore it, or write `{LAYOUT}` into it if this build made the directory."))),
        }
    }
}

/// Whether a kill left it of one of [`FILES`]: as `file` names it, or as the crate of the price list does.
fn is_unfinished(name: &str) -> bool {
    let of_file = |rest: &str| FILES.iter().any(|file| rest.strip_prefix(file).is_some_and(|end| end.starts_with('.')));
    let of_prices = name.strip_prefix("prices.json.").is_some_and(|rest| rest.ends_with(".new"));
    file::is_temporary(name) && name.strip_prefix('.').is_some_and(of_file) || of_prices
}

/// Writes as much as [`ROOM`] to a file without a name, so that nothing stays even after a kill.
fn probe(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder)?.write_all(&[0; ROOM])
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_missing_directory_is_made_private_with_all_its_folders() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(&home.path().join("deep/er/state")).unwrap();
        for path in [state.root().to_owned(), state.keys(), state.images(), state.machines(), state.runs()] {
            assert_eq!(mode(&path), 0o700, "{}", path.display());
        }
        assert_eq!(std::fs::read_to_string(state.root().join("layout")).unwrap(), "1\n");
        StateDir::open(state.root()).unwrap();
    }

    #[test]
    fn a_copy_has_the_id_of_its_original_and_a_place_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(&home.path().join("state")).unwrap();
        let id = state.id().unwrap();
        assert_eq!(state.id().unwrap(), id);
        let copy = StateDir::open(&home.path().join("copy")).unwrap();
        std::fs::copy(state.root().join("id"), copy.root().join("id")).unwrap();
        let of_copy = copy.id().unwrap();
        let random = |id: &str| id.split_once('.').unwrap().0.to_owned();
        assert!(of_copy != id && random(&of_copy) == random(&id), "{id} {of_copy}");
        // An id that an older build wrote is read as it is.
        std::fs::write(copy.root().join("id"), "01jdxyz\n").unwrap();
        assert!(copy.id().unwrap().starts_with("01jdxyz."));
    }

    #[test]
    fn a_removal_takes_what_a_kill_left_half_written_and_nothing_of_others() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(&home.path().join("state")).unwrap();
        state.id().unwrap();
        for name in
            [".id.aB3xYz.tmp", ".layout.q.tmp", "prices.json.aB3xYz.new", ".mine.tmp", "config.toml.new", "notes"]
        {
            std::fs::write(state.root().join(name), "x").unwrap();
        }
        assert_eq!(state.remove(true, &mut Vec::new()), [""; 0]);
        assert!(state.has_id() && !state.keys().exists());
        assert_eq!(state.remove(false, &mut Vec::new()), [""; 0]);
        let entries = std::fs::read_dir(state.root()).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> =
            entries.filter(|it| it.file_type().unwrap().is_file()).map(|it| it.file_name()).collect();
        files.sort();
        assert_eq!(files, [".mine.tmp", "config.toml.new", "notes"]);
    }

    #[test]
    fn permissions_of_what_was_there_stay() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        StateDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused_and_stays_as_it_was() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o775)).unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert!(error.message.ends_with("can be written by others (mode 0775)"), "{error}");
        assert_eq!(error.hint.unwrap(), format!("Run `chmod 700 {}`.", path.display()));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        assert_eq!(mode(&path), 0o775);
    }

    #[test]
    fn a_file_in_its_place_is_refused_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state");
        std::fs::write(&path, "mine").unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert!(error.message.ends_with("is not a directory"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_newer_layout_is_refused_and_a_damaged_one_is_named() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(&home.path().join("state")).unwrap();
        std::fs::write(state.root().join("layout"), "2\n").unwrap();
        let error = StateDir::open(state.root()).unwrap_err();
        assert!(error.message.ends_with("has layout 2, and this build knows layouts up to 1"), "{error}");
        std::fs::write(state.root().join("layout"), "\0\0").unwrap();
        assert!(StateDir::open(state.root()).unwrap_err().message.contains("is damaged"));
    }
}
