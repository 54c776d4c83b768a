//! The only place that reads the environment and knows a home directory; its `sites` construct adapters, and `ec2` those of EC2.

pub(crate) mod browser;
pub mod config;
#[cfg_attr(not(feature = "ec2"), path = "without_ec2/mod.rs")]
mod ec2;
pub mod editor;
pub mod host;
pub mod offers;
pub mod places;
pub mod publication;
pub mod releaser;
pub mod releases;
pub mod sites;
mod sweep;
pub mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use flow::look::Estate;
use flow::preparation::turns::Turns;
use flow::run::Run;
use flow::site::Sites;
use jiff::Timestamp;
use model::base::id::RunId;
use model::event::{Sink, Subject, Teller};
use model::fault::Fault;
use model::image::{Fingerprint, ImagePlan};
use model::journal::Journal;
use model::machine::{Address, Machine, Platform, ProviderKind};
use model::parameter::Parameter;
use model::preparation::SshProgram;
use model::setting::{Key, Section, SettingKind};
use nix::unistd::{Uid, User};
use project::image::{BaseChoice, Definition, GivenValue, ImageChoice};
use state::dir::StateDir;
use state::settings::Settings;
use tokio_util::sync::CancellationToken;

use crate::compose::sites::SiteBuilder;

use crate::globals::{ColorArg, Globals};
use crate::ui::{self, ColorChoice, EventStream, Look, Loudness, OutputTo, Screen};
pub use releaser::WaitGone;

/// The state directory's name below the home directory.
const STATE_FOLDER: &str = ".hgautomation";

/// The keys of the settings file that belong to parameters of images, each as a section of its own.
fn parameter_sections() -> Result<Vec<Section>, Fault> {
    static KEYS: OnceLock<Vec<(&'static str, Key)>> = OnceLock::new();
    let parameters = project::image::built_in_parameters()?;
    let key = |parameter: &'static Parameter| {
        let (section, name) = parameter.setting.as_deref()?.split_once('.')?;
        let (meaning, default) =
            (parameter.help.as_str(), Some(parameter.default.as_str()).filter(|it| !it.is_empty()));
        Some((section, Key { name, kind: SettingKind::Parameter(parameter), meaning, default }))
    };
    let keys = KEYS.get_or_init(|| parameters.iter().filter_map(key).collect());
    Ok(keys.iter().map(|(name, key)| Section { name, keys: std::slice::from_ref(key) }).collect())
}

/// The sections of the settings file that are not the tool's own.
fn sections() -> Result<Vec<Section>, Fault> {
    Ok(parameter_sections()?.into_iter().chain(ec2::SETTINGS).collect())
}

/// The providers that `--provider` can name.
pub(crate) fn providers() -> impl Iterator<Item = ProviderKind> {
    ProviderKind::CHOICES.into_iter().filter(|kind| *kind != ProviderKind::Ec2 || ec2::IS_BUILT_IN)
}

/// Refuses machines of somebody else's that are named wrongly, or twice: two shards would be at work in one folder.
fn check_hosts(globals: &Globals) -> Result<(), Fault> {
    let mut seen = Vec::new();
    for target in &globals.host {
        let place = host::parse_target(target)?;
        if seen.contains(&place) {
            return Err(Fault::usage(format!("`--host {target}` is given twice")).hint("Name each machine once."));
        }
        seen.push(place);
    }
    Ok(())
}

/// The values that a command runs with: resolved, no raw flags.
pub struct Context {
    /// The arguments as given, for the run's record.
    pub words: Vec<String>,
    /// The settings.
    pub settings: Settings,
    /// The state directory.
    pub state: StateDir,
    /// The record of resources.
    pub journal: Arc<dyn Journal>,
    /// The screen on which everything is shown.
    pub screen: Arc<Screen>,
    /// The person who runs the command.
    pub owner: String,
    /// The sites with its machines, their images and accounts.
    pub sites: SiteBuilder,
}

/// The home directory of the person.
pub(crate) fn home() -> Result<PathBuf, Fault> {
    dirs::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or_else(|| Fault::outside("cannot tell the home directory").hint("Set `HOME`, or give `--state-path DIR`."))
}

/// Refuses a folder of image definitions that does not exist: it would otherwise pass for an empty one.
fn check_images_folder(globals: &Globals) -> Result<(), Fault> {
    let Some(folder) = globals.images.as_ref().filter(|folder| !folder.is_dir()) else { return Ok(()) };
    Err(Fault::usage(format!("there is no folder of image definitions `{}`", folder.display()))
        .hint("Name one with `--images`, or leave it out for the built-in ones."))
}

/// Refuses settings that ask for a provider which this tool was built without.
fn check_provider(settings: &Settings) -> Result<(), Fault> {
    if providers().any(|kind| kind == settings.provider) {
        return Ok(());
    }
    let origin = settings.origin("provider").unwrap_or_default();
    let name = settings.provider.name();
    Err(Fault::outside(format!("{origin}: this tool was built without the provider `{name}`"))
        .hint(format!("Build it with the feature `{name}`, or name another provider there.")))
}

/// What messages look like here.
pub(crate) fn look(globals: &Globals) -> Look {
    let color = match globals.color {
        ColorArg::Auto => ColorChoice::Auto,
        ColorArg::Always => ColorChoice::Always,
        ColorArg::Never => ColorChoice::Never,
    };
    let loudness = match (globals.quiet, globals.verbose) {
        (true, _) => Loudness::Quiet,
        (_, true) => Loudness::Verbose,
        _ => Loudness::Normal,
    };
    Look::of(variables::surroundings(), color, loudness, globals.raw)
}

/// The screen of a command that was given `words`.
fn screen(globals: &Globals, words: &[String]) -> Result<Screen, Fault> {
    // `--json` anywhere before `--` leaves standard output to JSON.
    let json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let stream = globals.events.as_deref().map(EventStream::open).transpose()?;
    let streams = stream.as_ref().is_some_and(EventStream::is_stdout);
    if json && streams {
        return Err(Fault::usage("`--json` and `--events -` both want standard output for themselves")
            .hint("Name a file for the events: `--events FILE`."));
    }
    let output = if json || streams { OutputTo::Stderr } else { OutputTo::Stdout };
    Ok(Screen::new(output, look(globals), stream))
}

/// The path of the state directory, whether it exists or not.
pub fn state_path(globals: &Globals) -> Result<PathBuf, Fault> {
    let path = match &globals.state_path {
        Some(path) if path.as_os_str().is_empty() => {
            let from = if globals.was_typed("--state-path") { "--state-path" } else { "AUTOMATION_STATE_PATH" };
            return Err(Fault::usage(format!("`{from}` is empty"))
                .hint("Name a folder, or leave it out for `.hgautomation` in your home directory."));
        }
        Some(path) => std::path::absolute(path)
            .map_err(|e| Fault::usage(format!("`{}` is not a path", path.display())).because(e))?,
        None => home()?.join(STATE_FOLDER),
    };
    // Paths below it are text in the journal, and resources are found again by them.
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(Fault::usage(format!("the state directory's path `{}` is not UTF-8", path.display()))
            .hint("Name another directory with `--state-path`.")),
    }
}

/// The longest owner, in characters: the limit of a tag of AWS.
const OWNER_CAP: usize = 256;

/// Whether there is a state directory, or has to be: in an account its name tells whose things are whose.
pub fn has_state(globals: &Globals) -> bool {
    globals.provider.as_deref() == Some(ProviderKind::Ec2.name())
        || state_path(globals).is_ok_and(|path| StateDir::is_there(&path))
}

/// `user@host`, as far as the system knows it, with only those characters that every service accepts in a tag: it must
/// read the same wherever it is found again.
pub fn owner() -> String {
    let allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    whole_owner().chars().map(|c| if allowed(c) { c } else { '_' }).take(OWNER_CAP).collect()
}

fn whole_owner() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{}@{host}", person().unwrap_or_else(|| "unknown".to_owned()))
}

/// The name of the person who runs this: by the variables, else by the system.
pub(crate) fn person() -> Option<String> {
    variables::user().or_else(|| User::from_uid(Uid::current()).ok().flatten().map(|user| user.name))
}

/// The folder that the command was given in.
pub fn current_folder() -> Result<PathBuf, Fault> {
    std::env::current_dir().map_err(|e| Fault::outside("cannot tell the current folder").because(e))
}

/// The path of our own program.
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

    /// The same for a command that ends, collects or only looks: a full disk is not a reason to refuse it.
    pub fn open_for_cleanup(globals: &Globals, words: Vec<String>) -> Result<Self, Fault> {
        let state = StateDir::open_for_cleanup(&state_path(globals)?)?;
        let journal = state.journal_for_cleanup()?;
        Self::with(state, journal, globals, words)
    }

    /// The context of a command that only looks, or works on what is there already, where there is no state directory: none is made.
    pub fn of_nothing(globals: &Globals, words: Vec<String>) -> Result<Self, Fault> {
        let (state, journal) = StateDir::of_nothing(&state_path(globals)?)?;
        Self::with(state, journal, globals, words)
    }

    fn with(state: StateDir, journal: Arc<dyn Journal>, globals: &Globals, words: Vec<String>) -> Result<Self, Fault> {
        if globals.state_path.is_some() {
            ui::name_state(state.root());
        }
        check_images_folder(globals)?;
        variables::check(globals)?;
        check_hosts(globals)?;
        let settings = state.settings(&sections()?)?;
        check_provider(&settings)?;
        let (owner, screen) = (owner(), Arc::new(screen(globals, &words)?));
        let sites = SiteBuilder {
            settings: settings.clone(),
            state: state.clone(),
            screen: Arc::clone(&screen),
            owner: owner.clone(),
            privileged: false,
            taken: None,
            globals: globals.clone(),
            home: home().unwrap_or_default(),
            identity: Arc::default(),
            ec2: ec2::Ec2Clients::default(),
        };
        let context = Self { words, settings, state, journal, screen, owner, sites };
        context.sweep();
        Ok(context)
    }

    /// The same with local machines whose root is root of this computer, where that is `wanted`.
    pub fn privileged(self, wanted: bool) -> Result<Self, Fault> {
        if wanted && !rustix::process::geteuid().is_root() {
            return Err(Fault::usage(
                "`--privileged-machine` is for root: root on such a machine is root of this computer",
            )
            .hint("Leave it out: an ordinary user's machines have a root of their own."));
        }
        let sites = SiteBuilder { privileged: wanted, ..self.sites };
        Ok(Self { sites, ..self })
    }

    /// The same, to work on a machine that is up. `machine` is refused where it cannot be: it ends at once, or is not reached by SSH.
    pub fn on_machine(self, machine: Machine) -> Result<Self, Fault> {
        if self.sites.globals.provider.is_some() && self.sites.globals.was_typed("--provider") || self.sites.hosts() > 0
        {
            return Err(Fault::usage(
                "`--machine` names a machine that is up, and `--provider` or `--host` another place",
            )
            .hint("Leave one of them out."));
        }
        if let Address::Ssm { .. } = machine.address {
            return Err(Fault::usage(format!("machine `{}` is not reached by SSH", machine.id))
                .hint("`machine exec` runs a command there."));
        }
        if machine.expires_at <= self.now() {
            return Err(Fault::usage(format!("machine `{}` expired at {:.0}", machine.id, machine.expires_at))
                .hint("`automation machine up` makes another one."));
        }
        let sites = SiteBuilder { taken: Some(Arc::new(machine)), ..self.sites };
        Ok(Self { sites, ..self })
    }

    /// The same where `kind` is the provider that was asked for.
    pub fn on(&self, kind: ProviderKind) -> Self {
        let globals = Globals { provider: Some(kind.name().to_owned()), ..self.sites.globals.clone() };
        Self {
            words: self.words.clone(),
            settings: self.settings.clone(),
            state: self.state.clone(),
            journal: Arc::clone(&self.journal),
            screen: Arc::clone(&self.screen),
            owner: self.owner.clone(),
            sites: SiteBuilder { globals, ..self.sites.clone() },
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// A teller for events outside of any run: they go to the screen alone.
    pub fn teller(&self) -> Teller {
        Teller::new(Arc::<Screen>::clone(&self.screen), Arc::new(Timestamp::now))
    }

    /// A command line to type, for a hint: with the state path where this command was given one.
    pub fn to_type(&self, words: &str) -> String {
        match &self.sites.globals.state_path {
            Some(_) => format!("{} {words}", ui::with_state(self.state.root())),
            None => format!("automation {words}"),
        }
    }

    /// Whether the output of tasks may do to a terminal what it likes.
    pub fn raw(&self) -> bool {
        self.sites.globals.raw
    }

    /// Whether everything is wanted to be seen.
    pub fn verbose(&self) -> bool {
        self.sites.globals.verbose
    }

    /// How long a machine of the provider that was asked for lives without a sign of its driver.
    pub fn grace(&self) -> Duration {
        self.sites.grace(self.provider())
    }

    /// The provider that was asked for, or that of the settings where the request contradicts itself.
    pub fn provider(&self) -> ProviderKind {
        self.default_provider().unwrap_or(self.settings.provider)
    }

    /// The provider that was asked for: by flag or variable, else by the settings.
    pub fn default_provider(&self) -> Result<ProviderKind, Fault> {
        self.sites.chosen_provider()
    }

    /// Everything that belongs to this state directory, for work outside of any run.
    pub fn estate(&self) -> Estate<'_> {
        Estate {
            sites: &self.sites,
            journal: self.journal.as_ref(),
            teller: self.teller(),
            owner: self.owner.clone(),
            alive: state::process::is_alive,
        }
    }

    /// The run that `text` names, whatever it did: an id, its beginning, or `latest`.
    pub fn resolve_run(&self, text: &str) -> Result<RunId, Fault> {
        let known: Vec<RunId> = self.journal.runs(usize::MAX)?.into_iter().map(|record| record.id).collect();
        state::runs::resolve(&known, known.first(), text)
    }

    /// An image definition by name.
    pub fn definition(&self, name: &str) -> Result<Definition, Fault> {
        project::image::load(self.sites.globals.images.as_deref(), name)
    }

    /// The names of all image definitions.
    pub fn definition_names(&self) -> Result<Vec<String>, Fault> {
        project::image::names(self.sites.globals.images.as_deref())
    }

    /// The kind of an image's lowest layer with the provider that was asked for.
    pub fn base_choice(&self) -> Result<BaseChoice, Fault> {
        Ok(match self.default_provider()? {
            ProviderKind::Ec2 => BaseChoice::Cloud,
            ProviderKind::Local | ProviderKind::Host | ProviderKind::Dummy => BaseChoice::Userland,
        })
    }

    /// The settings' values of `parameters`, by name; with `usual` also of those that have an option of their own.
    pub fn values(&self, parameters: &[Parameter], usual: bool) -> BTreeMap<String, GivenValue> {
        let decides = |parameter: &&Parameter| usual || parameter.option.is_none();
        let of_settings = |parameter: &Parameter| {
            let key = parameter.setting.as_deref()?;
            let value = self.settings.extra(key)?.to_owned();
            Some((parameter.name.clone(), GivenValue { value, origin: self.settings.origin(key) }))
        };
        parameters.iter().filter(decides).filter_map(of_settings).collect()
    }

    /// The fingerprints of all layers that today's definitions and settings give, over every distribution and value
    /// that a command accepts.
    pub fn current_layers(&self) -> Result<BTreeSet<Fingerprint>, Fault> {
        Ok(self.current_plans()?.iter().flat_map(|plan| plan.chain(plan.layers.len())).collect())
    }

    /// The plan, by today's definitions and settings, of the image that is called `name`; none where no definition makes one of
    /// that name.
    pub fn plan_of_image(&self, name: &str) -> Result<Option<ImagePlan>, Fault> {
        Ok(self.current_plans()?.into_iter().find(|plan| plan.name == name))
    }

    /// The plan of the image that is called `name`, or that it was set up upon.
    pub fn plan_behind(&self, name: &str) -> Result<Option<ImagePlan>, Fault> {
        let is_behind = |plan: &ImagePlan| {
            let rest = name.strip_prefix(plan.name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("-setup"))
        };
        Ok(self.current_plans()?.into_iter().find(is_behind))
    }

    /// The plans of all images that today's definitions and settings give, the usual one of a distribution before its variants.
    fn current_plans(&self) -> Result<Vec<ImagePlan>, Fault> {
        let mut plans = Vec::new();
        for name in self.definition_names()? {
            let definition = self.definition(&name)?;
            for distro in definition.distros_of(self.base_choice()?) {
                let mut choice = ImageChoice::new(self.base_choice()?, &distro);
                choice.values = self.values(definition.parameters(), false);
                for variant in std::iter::once(choice.clone()).chain(definition.variants(&choice)) {
                    plans.push(definition.plan(&variant)?);
                }
            }
        }
        Ok(plans)
    }

    /// Refuses work that needs more than commands where SSH is not used.
    pub fn require_ssh(&self) -> Result<(), Fault> {
        if self.sites.by_systems_manager() {
            return Err(Fault::usage(
                "`--connect ssm` runs commands and moves small files; tests, packages and bakes need SSH",
            ));
        }
        Ok(())
    }

    /// Refuses a machine of somebody else's that is not said to have the system that is `wanted`.
    pub fn require_platform(&self, kind: ProviderKind, wanted: Platform) -> Result<(), Fault> {
        let said = self.sites.platform();
        if kind != ProviderKind::Host || said == wanted {
            return Ok(());
        }
        let message = format!(
            "this needs a machine that has {}, and that of somebody else's counts as {}",
            wanted.name(),
            said.name()
        );
        Err(Fault::usage(message).hint(format!("If it has the system, say so: `--platform {}`.", wanted.name())))
    }

    /// Whether this computer has the program, as the system looks for it.
    pub fn has_program(&self, program: &str) -> bool {
        let is_program = |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0);
        if program.contains('/') {
            return is_program(Path::new(program));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| is_program(&folder.join(program)))
    }

    /// The program by which `hg` reaches machines: this one.
    pub fn ssh(&self) -> Result<SshProgram, Fault> {
        let args = vec!["internal-ssh".to_owned(), "--target".to_owned()];
        Ok(SshProgram { program: executable()?, args })
    }

    /// A run in the form that flows use.
    pub fn run(&self, id: RunId, sink: Arc<dyn Sink>) -> Run {
        Run {
            teller: Teller::new(sink, Arc::new(Timestamp::now)).about(Subject::Run(id.clone())),
            id,
            owner: self.owner.clone(),
            journal: Arc::clone(&self.journal),
            stop: CancellationToken::new(),
            detach: CancellationToken::new(),
            turns: Turns::default(),
            parting: Arc::default(),
        }
    }
}
