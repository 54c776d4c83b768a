//! The only place that constructs adapters, reads the environment and knows a home directory.

#[cfg(feature = "ec2")]
pub mod ec2;
pub mod host;
pub mod look;
mod sweep;
pub mod variables;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::base::id::RunId;
use crate::command::globals::Globals;
use crate::connection::{self, ssh::SshConnector};
use crate::flow::run::Run;
use crate::flow::site::Site;
use crate::image::{BaseChoice, Choice, Definition};
use crate::model::check::Check;
use crate::model::connection::Connector;
use crate::model::event::{Sink, Subject, Teller};
use crate::model::fault::Fault;
use crate::model::image::Fingerprint;
use crate::model::journal::Journal;
use crate::model::machine::ProviderKind;
use crate::model::provider::{ImageStore, Provider};
use crate::model::setting::Section;
use crate::project::mercurial;
use crate::provider::host::HostProvider;
use crate::provider::local::images::{LocalImages, mirrors::Mirrors};
use crate::provider::local::{LocalConfig, LocalProvider};
use crate::provider::{KeyMaker, KeyPair};
use crate::state::dir::StateDir;
use crate::state::keys::Identity;
use crate::state::settings::Settings;
use crate::ui::{OutputTo, Screen};

/// The state directory's name below the home directory.
const STATE_FOLDER: &str = ".hgautomation";

/// The sections of the settings file that belong to projects and providers.
const SECTIONS: &[Section] = &[
    mercurial::SETTINGS,
    #[cfg(feature = "ec2")]
    crate::provider::ec2::SETTINGS,
];

/// The providers that `--provider` can name.
const PROVIDERS: &[(&str, ProviderKind)] = &[
    ("local", ProviderKind::Local),
    #[cfg(feature = "ec2")]
    ("ec2", ProviderKind::Ec2),
    ("host", ProviderKind::Host),
];

/// What a command runs with: resolved values, no raw flags.
pub struct Context {
    /// The arguments as given, for the run's record.
    pub words: Vec<String>,
    /// The settings.
    pub settings: Settings,
    /// The state directory.
    pub state: StateDir,
    /// The record of resources.
    pub journal: Arc<dyn Journal>,
    /// Where everything is shown.
    pub screen: Arc<Screen>,
    /// Who runs it.
    pub owner: String,
    /// Whether local machines are to be privileged ones.
    privileged: bool,
    globals: Globals,
    home: PathBuf,
    /// Read at the first use, and once: a site's provider and its images both ask for it.
    identity: OnceLock<Identity>,
    #[cfg(feature = "ec2")]
    aws: tokio::sync::OnceCell<aws_config::SdkConfig>,
    #[cfg(feature = "ec2")]
    clients: std::sync::OnceLock<Arc<crate::provider::ec2::clients::Clients>>,
}

fn home() -> Result<PathBuf, Fault> {
    std::env::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or_else(|| Fault::outside("cannot tell the home directory").hint("Set `HOME`, or give `--state-path DIR`."))
}

/// Refuses a folder of image definitions that is not there: without a word, nothing would be in it.
fn look_at_images(globals: &Globals) -> Result<(), Fault> {
    let Some(folder) = globals.images.as_ref().filter(|folder| !folder.is_dir()) else { return Ok(()) };
    Err(Fault::usage(format!("there is no folder of image definitions `{}`", folder.display()))
        .hint("Name one with `--images`, or leave that away for the built-in ones."))
}

/// Where the state directory is, whether it is there or not.
pub fn state_path(globals: &Globals) -> Result<PathBuf, Fault> {
    let path = match &globals.state_path {
        Some(path) if path.as_os_str().is_empty() => {
            let from = if globals.was_typed("--state-path") { "--state-path" } else { "AUTOMATION_STATE_PATH" };
            return Err(Fault::usage(format!("`{from}` is empty"))
                .hint("Name a folder, or leave it out for `.hgautomation` in your home directory."));
        }
        Some(path) => std::path::absolute(path)
            .map_err(|e| Fault::usage(format!("`{}` is no path", path.display())).because(e))?,
        None => home()?.join(STATE_FOLDER),
    };
    // Paths below it stand in the journal as text, by which what was made is found again.
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(Fault::usage(format!("the state directory's path `{}` is not UTF-8", path.display()))
            .hint("Name another directory with `--state-path`.")),
    }
}

/// The longest owner, in characters: what a tag of AWS holds.
const OWNER_CAP: usize = 256;

/// `user@host`, as far as the system tells, of characters that every service takes in a tag: it must read the same wherever
/// it is found again.
pub fn owner() -> String {
    let allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    whole_owner().chars().map(|c| if allowed(c) { c } else { '_' }).take(OWNER_CAP).collect()
}

fn whole_owner() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let user = variables::user()
        .or_else(|| name_of(rustix::process::getuid().as_raw()))
        .unwrap_or_else(|| "unknown".to_owned());
    format!("{user}@{host}")
}

/// The name of a user id by the system's list of users; a user who is in a directory service only has none there.
fn name_of(uid: u32) -> Option<String> {
    let list = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = list.lines().find(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()))?;
    line.split(':').next().map(str::to_owned)
}

/// Our own program.
pub fn executable() -> Result<PathBuf, Fault> {
    std::env::current_exe().map_err(|e| Fault::outside("cannot tell where our own program is").because(e))
}

impl Context {
    /// Opens the state directory and reads the settings.
    pub fn open(globals: &Globals, words: Vec<String>) -> Result<Self, Fault> {
        let state = StateDir::open(&state_path(globals)?)?;
        let journal = Arc::new(state.journal()?);
        Self::with(state, journal, globals, words)
    }

    /// The same for a command that ends, collects or only looks: a full disk is no reason to refuse.
    pub fn open_for_cleanup(globals: &Globals, words: Vec<String>) -> Result<Self, Fault> {
        let state = StateDir::open_for_cleanup(&state_path(globals)?)?;
        let journal = state.journal_for_cleanup()?;
        Self::with(state, journal, globals, words)
    }

    fn with(state: StateDir, journal: Arc<dyn Journal>, globals: &Globals, words: Vec<String>) -> Result<Self, Fault> {
        look_at_images(globals)?;
        variables::check(globals)?;
        if let Some(target) = &globals.host {
            host::parse_target(target)?;
        }
        let settings = state.settings(SECTIONS)?;
        // `--json` anywhere before `--` leaves standard output to JSON.
        let json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
        let output = if json { OutputTo::Stderr } else { OutputTo::Stdout };
        let context = Self {
            words,
            settings,
            state,
            journal,
            screen: Arc::new(Screen::new(output, false, globals.raw)),
            owner: owner(),
            privileged: false,
            globals: globals.clone(),
            home: home().unwrap_or_default(),
            identity: OnceLock::new(),
            #[cfg(feature = "ec2")]
            aws: tokio::sync::OnceCell::new(),
            #[cfg(feature = "ec2")]
            clients: std::sync::OnceLock::new(),
        };
        context.sweep();
        Ok(context)
    }

    /// The same with local machines whose root is root of this computer, where that is `wanted`.
    pub fn privileged(self, wanted: bool) -> Result<Self, Fault> {
        if wanted && !rustix::process::geteuid().is_root() {
            return Err(Fault::usage(
                "`--privileged-machine` is for root: root on such a machine is root of this computer",
            )
            .hint("Leave it away: an ordinary user's machines have a root of their own."));
        }
        Ok(Self { privileged: wanted, ..self })
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Tells what happens outside of any run: on the screen alone.
    pub fn teller(&self) -> Teller {
        Teller::new(Arc::<Screen>::clone(&self.screen), Arc::new(Timestamp::now))
    }

    /// A command line of ours to type, for a hint: with the state path where it was given on this one's.
    pub fn to_type(&self, words: &str) -> String {
        match &self.globals.state_path {
            Some(_) => format!("automation --state-path {} {words}", self.state.root().display()),
            None => format!("automation {words}"),
        }
    }

    /// Whether the output of tasks may do to a terminal what it likes.
    pub fn raw(&self) -> bool {
        self.globals.raw
    }

    /// How long a machine of the provider that was asked for lives without a sign of its driver.
    pub fn grace(&self) -> Duration {
        self.grace_of(self.default_provider().unwrap_or(self.settings.provider))
    }

    fn grace_of(&self, kind: ProviderKind) -> Duration {
        let of_provider = || match kind {
            #[cfg(feature = "ec2")]
            ProviderKind::Ec2 => self.ec2_grace(),
            _ => self.settings.grace,
        };
        self.globals.grace.unwrap_or_else(of_provider)
    }

    /// The provider that was asked for: by flag or variable, else by the settings.
    pub fn default_provider(&self) -> Result<ProviderKind, Fault> {
        let Some(name) = self.globals.provider.as_deref() else {
            return Ok(if self.globals.host.is_some() { ProviderKind::Host } else { self.settings.provider });
        };
        match PROVIDERS.iter().find(|(known, _)| *known == name) {
            Some((_, kind)) if *kind != ProviderKind::Host && self.globals.host.is_some() => {
                Err(Fault::usage(format!("`--host` has no meaning with `--provider {name}`"))
                    .hint("Leave one of the two out."))
            }
            Some((_, kind)) => Ok(*kind),
            // Looked at when the context was opened.
            None => Err(Fault::usage(format!("there is no provider `{name}`")).hint("Leave `--provider` out.")),
        }
    }

    /// The run that `text` names, whatever it did: an id, its beginning, or `latest`.
    pub fn resolve_run(&self, text: &str) -> Result<RunId, Fault> {
        let known: Vec<RunId> = self.journal.runs(usize::MAX)?.into_iter().map(|record| record.id).collect();
        crate::state::runs::resolve(&known, known.first(), text)
    }

    /// An image definition by name.
    pub fn definition(&self, name: &str) -> Result<Definition, Fault> {
        crate::image::load(self.globals.images.as_deref(), name)
    }

    /// What the lowest layer of an image is for the provider that was asked for.
    pub fn base_choice(&self) -> Result<BaseChoice, Fault> {
        Ok(match self.default_provider()? {
            ProviderKind::Ec2 => BaseChoice::Cloud,
            ProviderKind::Local | ProviderKind::Host | ProviderKind::Dummy => BaseChoice::Userland,
        })
    }

    /// What shapes an image beside its definition.
    pub fn choice(&self, distro: &str, python_version: Option<&str>) -> Result<Choice, Fault> {
        let setting = |key| self.settings.extra(mercurial::SETTINGS.name, key);
        Ok(Choice {
            base: self.base_choice()?,
            distro: distro.to_owned(),
            python_version: python_version.unwrap_or("system3").to_owned(),
            source: setting("source").unwrap_or("distribution").to_owned(),
            source_url: setting("upstream-url").unwrap_or(mercurial::UPSTREAM_URL).to_owned(),
            source_revision: setting("upstream-revision").unwrap_or_default().to_owned(),
        })
    }

    /// The fingerprints of all layers that today's definitions and settings give, over every distribution and Python.
    pub fn current_layers(&self) -> Result<BTreeSet<Fingerprint>, Fault> {
        let mut current = BTreeSet::new();
        for name in crate::image::names(self.globals.images.as_deref())? {
            let definition = self.definition(&name)?;
            for distro in definition.distros_of(self.base_choice()?) {
                for python in definition.pythons(&distro) {
                    let plan = definition.plan(&self.choice(&distro, Some(&python))?)?;
                    current.extend(plan.chain(plan.layers.len()));
                }
            }
        }
        Ok(current)
    }

    /// The key pair that machines are met with.
    fn identity(&self) -> Result<Identity, Fault> {
        if let Some(known) = self.identity.get() {
            return Ok(known.clone());
        }
        let make =
            || connection::keys::generate("hg-automation").map(|pair| (pair.private_openssh, pair.public_openssh));
        let read = self.state.identity(&make, &connection::keys::matches)?;
        Ok(self.identity.get_or_init(|| read).clone())
    }

    fn local_config(&self) -> Result<LocalConfig, Fault> {
        let identity = self.identity()?;
        Ok(LocalConfig {
            state: self.state.root().to_owned(),
            executable: executable()?,
            identity: identity.path,
            public_key: identity.public,
            host_keys: host_keys(),
            mirrors: Mirrors {
                debian: self.settings.local.debian_mirror.clone(),
                debian_security: self.settings.local.debian_security_mirror.clone(),
                ubuntu: self.settings.local.ubuntu_mirror.clone(),
            },
            keyring: self.settings.local.keyring.clone(),
            environment: std::env::vars_os().collect(),
            privileged: self.privileged,
        })
    }

    /// A provider.
    pub async fn provider(&self, kind: ProviderKind) -> Result<Arc<dyn Provider>, Fault> {
        match kind {
            ProviderKind::Local => Ok(Arc::new(LocalProvider::new(self.local_config()?))),
            #[cfg(feature = "ec2")]
            ProviderKind::Ec2 => Ok(self.ec2().await?),
            #[cfg(not(feature = "ec2"))]
            ProviderKind::Ec2 => Err(without_ec2()),
            ProviderKind::Host => {
                let target = self.globals.host.as_deref();
                let machine = target.map(|target| self.host_machine(target)).transpose()?;
                Ok(Arc::new(HostProvider::new(machine)))
            }
            ProviderKind::Dummy => Err(Fault::usage("provider `dummy` is for tests")),
        }
    }

    /// The images of a provider.
    pub async fn images(&self, kind: ProviderKind) -> Result<Arc<dyn ImageStore>, Fault> {
        match kind {
            #[cfg(feature = "ec2")]
            ProviderKind::Ec2 => Ok(self.ec2_images().await?),
            #[cfg(not(feature = "ec2"))]
            ProviderKind::Ec2 => Err(without_ec2()),
            // Whoever tests on a machine of somebody else's still has images on this computer.
            ProviderKind::Local | ProviderKind::Host | ProviderKind::Dummy => {
                Ok(Arc::new(LocalImages::new(self.local_config()?)))
            }
        }
    }

    /// What can be made here: on this computer, or in the account where EC2 was asked for.
    pub async fn doctor(&self) -> Result<Vec<Check>, Fault> {
        #[cfg(feature = "ec2")]
        if self.default_provider()? == ProviderKind::Ec2 {
            return Ok(self.ec2_doctor().await);
        }
        Ok(crate::provider::local::doctor::checks(&self.local_config()?).await)
    }

    /// Refuses work that commands alone cannot do.
    pub fn require_ssh(&self) -> Result<(), Fault> {
        #[cfg(feature = "ec2")]
        if self.by_systems_manager() {
            return Err(Fault::usage("`--connect ssm` runs commands and moves small files; tests and bakes need SSH"));
        }
        Ok(())
    }

    /// Opens connections to a provider's machines.
    pub async fn connector(&self, kind: ProviderKind) -> Result<Arc<dyn Connector>, Fault> {
        #[cfg(feature = "ec2")]
        if kind == ProviderKind::Ec2 {
            return Ok(self.ec2_connector().await);
        }
        Ok(match kind {
            ProviderKind::Host => Arc::new(self.host_connector()),
            _ => Arc::new(SshConnector::default()),
        })
    }

    /// How `hg` is to reach machines: by this very program.
    pub fn ssh(&self) -> Result<mercurial::Ssh, Fault> {
        let args = vec!["internal-ssh".to_owned(), "--target".to_owned()];
        Ok(mercurial::Ssh { program: executable()?, args })
    }

    /// A run, as flows know it.
    pub fn run(&self, id: RunId, sink: Arc<dyn Sink>) -> Run {
        Run {
            teller: Teller::new(sink, Arc::new(Timestamp::now)).about(Subject::Run(id.clone())),
            id,
            owner: self.owner.clone(),
            journal: Arc::clone(&self.journal),
            stop: CancellationToken::new(),
            detach: CancellationToken::new(),
        }
    }

    /// A provider with all that is needed to work on it.
    pub async fn site(&self, kind: ProviderKind) -> Result<Site, Fault> {
        Ok(Site {
            provider: self.provider(kind).await?,
            connector: self.connector(kind).await?,
            images: self.images(kind).await?,
            grace: self.grace_of(kind),
        })
    }
}

/// What is answered where a record names EC2 and this build has nothing of it.
#[cfg(not(feature = "ec2"))]
fn without_ec2() -> Fault {
    Fault::outside("this build has no provider `ec2`").hint("Build it with the feature `ec2`, which is on by default.")
}

/// Makes the host keys of machines.
fn host_keys() -> KeyMaker {
    Arc::new(|| {
        let pair = connection::keys::generate("hg-automation-host")?;
        Ok(KeyPair { private: pair.private_openssh, public: pair.public_openssh })
    })
}
