//! Machines on this computer.
//!
//! A machine is a folder, `machines/<id>` in the state directory, and one [`guard`] process that makes the machine and
//! outlives the driver. The machine's first process ([`init`]) is the guard's child in namespaces of its own: its root is
//! an overlay over the cached layers of an image, and it starts the image's own OpenSSH server for each connection. When
//! the lease is over, the guard ends the machine, and its parent, the keeper, removes the folder; when the guard dies, the
//! machine dies.
//!
//! The machine's programs are at most root of a user namespace, which has no rights over the computer's files and
//! kernel: with the user's subordinate ids, or, where root makes the machine, with a range of ids that nobody has
//! ([`trees`] says how the files fit). [`init`] confines the machine before anything of the image runs.
//!
//! There is no daemon, no container registry and no network but loopback unless asked for, and nothing is written
//! outside the state directory. Only a machine that was made with `--privileged-machine` has root of this computer
//! inside.

mod aside;
mod cgroup;
mod channel;
mod computer;
pub mod doctor;
mod files;
mod folders;
mod guard;
mod hints;
mod hold;
mod ids;
pub mod images;
mod init;
mod launch;
mod lease;
mod loops;
mod names;
mod observe;
mod probe;
mod proc;
mod release;
mod remove;
mod spec;
pub mod sweep;
mod sys;
mod trees;
mod trouble;
pub mod uninstall;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use files::FileWorker;
use folders::{Folders, MachineFolder};
use images::mirrors::{self, Mirrors};
use jiff::Timestamp;
use model::base::id::MachineId;
use model::event::{MachineEvent, Teller};
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::key_pair::KeyMaker;
use model::machine::{Address, HostKey, Machine, Network, Platform, ProviderKind};
use model::provider::ability::{MemoryLimit, Renew, VolumeRange};
use model::provider::{Abilities, Confirm, LeaseKeeper, MachineRequest, Provider};
use model::resource::{Fate, ObservedResource, PlannedResource, Resource, ResourceKind};
use release::Releaser;
use spec::{IdMap, MachineSpec, Spec, SpecKind, write_atomically};
use trouble::{Doing, Trouble};

/// The configuration of the local provider.
#[derive(Clone)]
pub struct LocalConfig {
    /// The state directory, an absolute path.
    pub state: PathBuf,
    /// Our own executable, which is run again as the guard.
    pub executable: PathBuf,
    /// The private key that logs in.
    pub identity: PathBuf,
    /// Its public half, one line in OpenSSH form.
    pub public_key: String,
    /// Makes host keys.
    pub host_keys: KeyMaker,
    /// The package mirrors from the user's settings.
    pub mirrors: Mirrors,
    /// A file of archive keys from the user's settings, in addition to the distribution's on the host.
    pub keyring: Option<PathBuf>,
    /// The driver's variables, which may name proxies. Guards and machines inherit none of them.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether machines are privileged: root inside is root of this computer.
    pub privileged: bool,
}

impl LocalConfig {
    /// The ids to which the machine `id` is confined; `None` where it is to be privileged.
    fn ids(&self, id: &MachineId) -> Result<Option<IdMap>, Trouble> {
        match (self.privileged, computer::is_root()) {
            (true, true) => Ok(None),
            (true, false) => Err(Trouble::new("only root can make a privileged machine")
                .hint("Leave out `--privileged-machine`, or run as root.")),
            (false, true) => Ok(Some(computer::unassigned_ids(id)?)),
            (false, false) => computer::id_map(),
        }
    }
}

/// Runs the hidden subcommands by which our own executable is run again: `internal-guard SPEC`, `internal-probe FOLDER
/// MAP` and `internal-files ACTION STATE PATH MAP`. Returns the exit code, or `None` where `arguments` (without the
/// program's name) are none of them. `main` must call this first: the subcommands fork, so no thread may have been
/// started.
pub fn internal(arguments: &[OsString]) -> Option<i32> {
    let words: Vec<&Path> = arguments.iter().map(Path::new).collect();
    match words.as_slice() {
        [command, spec] if command.as_os_str() == proc::GUARD_COMMAND => Some(guard::main(spec)),
        [command, folder, map] if command.as_os_str() == probe::PROBE_COMMAND => {
            Some(probe::main(folder, map.to_str()?))
        }
        [command, action, state, path, map] if command.as_os_str() == files::FILES_COMMAND => {
            Some(files::main(action.to_str()?, state, path, map.to_str()?))
        }
        _ => None,
    }
}

/// The provider of machines on this computer.
pub struct LocalProvider {
    config: LocalConfig,
    folders: Folders,
    releaser: Releaser,
}

/// The device of the second volume inside a privileged machine.
const DEVICE: &str = "/dev/hg-volume";

impl LocalProvider {
    /// A provider of machines in `config.state`. Makes nothing yet.
    pub fn new(config: LocalConfig) -> Self {
        let folders = Folders::new(&config.state);
        let files = FileWorker { state: folders.state().to_owned(), executable: config.executable.clone() };
        let releaser = Releaser { folders: folders.clone(), files };
        Self { config, folders, releaser }
    }

    /// Makes the specification of a machine, and refuses what is impossible before anything is made.
    fn specify(&self, request: &MachineRequest) -> Result<Spec, Trouble> {
        let ids = self.config.ids(&request.id)?;
        if request.volume.is_some() {
            vet_volume(request.filesystem, self.config.privileged)?;
        }
        for layer in &request.layers {
            if !images::layers::is_present(&self.folders, layer) {
                return Err(Trouble::new(format!("the layer `{}` of image `{}` is not there", layer, request.image))
                    .hint("Run `automation image build` to make it."));
            }
        }
        let cgroup = cgroup::plan(self.folders.state(), &request.id, &request.caps, computer::is_root())?;
        let expires_at = request.expires_at.as_second();
        let grace = i64::try_from(request.grace.as_secs()).unwrap_or(i64::MAX / 4);
        Ok(Spec {
            id: request.id.clone(),
            state: self.folders.state().to_owned(),
            kind: SpecKind::Machine(MachineSpec {
                layers: request.layers.clone(),
                network: request.network,
                cgroup,
                volume: request.volume,
                filesystem: request.filesystem,
                authorized_key: self.config.public_key.clone(),
            }),
            ids,
            grace,
            lease: request.now.as_second().saturating_add(grace).min(expires_at),
            expires_at,
            idle: request.idle.map(|idle| idle.as_secs()),
        })
    }

    /// Writes the proxies by which `apt` on a machine on the host's network reaches its mirrors, where there are any.
    async fn write_proxies(&self, folder: &MachineFolder) -> Result<(), Fault> {
        let environment = self.config.environment.clone();
        let lines = blocking(move || mirrors::proxies(&environment)).await?;
        if !lines.is_empty() {
            let text = lines.join("\n") + "\n";
            write_atomically(&folder.apt_conf(), text.as_bytes()).doing(|| "write the configuration of `apt`")?;
        }
        Ok(())
    }
}

/// Makes a machine's folder.
fn make_folder(folders: &Folders, machine: &MachineId) -> Result<MachineFolder, Trouble> {
    let folder = folders.machine(machine);
    computer::make_private_folder(&folders.machines())?;
    computer::spread_folders(&folders.machines());
    // The call is not recursive, because a folder that exists already belongs to another machine.
    std::fs::create_dir(folder.path()).doing(|| format!("make the folder `{}`", folder.path().display()))?;
    make_inner_folders(&folder).doing(|| format!("make folders in `{}`", folder.path().display()))?;
    Ok(folder)
}

fn make_inner_folders(folder: &MachineFolder) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    mode(folder.path(), 0o700)?;
    for inner in [folder.upper(), folder.work(), folder.root(), folder.tmp()] {
        std::fs::create_dir(&inner)?;
        // The mode of `upper` becomes that of the machine's `/`, so it must not depend on the driver's mask.
        mode(&inner, 0o755)?;
    }
    Ok(())
}

/// Runs blocking work outside the async runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::infrastructure("an inner task ended").because(error))
}

impl VolumeRange for LocalProvider {
    fn vet(&self, filesystem: Filesystem) -> Result<(), Fault> {
        Ok(vet_volume(filesystem, self.config.privileged)?)
    }
}

impl MemoryLimit for LocalProvider {
    fn kills(&self, machine: &MachineId) -> Option<u64> {
        cgroup::memory_kills(self.folders.state(), machine)
    }
}

/// Refuses a second volume that cannot be: who may mount one, and what the kernel knows. A privileged machine gets the
/// device, and mounts it itself with whatever it likes.
fn vet_volume(filesystem: Filesystem, privileged: bool) -> Result<(), Trouble> {
    if computer::is_root() {
        return if privileged { Ok(()) } else { guard::volume::require(filesystem) };
    }
    Err(Trouble::new(
        "an ordinary user cannot have a second volume: the kernel mounts file systems of disks for root only",
    )
    .hint("Choose `--filesystem default` or `--filesystem tmpfs`, or run as root."))
}

#[async_trait]
impl Provider for LocalProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Local
    }

    fn abilities(&self) -> Abilities<'_> {
        Abilities { volumes: Some(self), memory: Some(self), ..Abilities::default() }
    }

    fn lease_keeper(&self) -> LeaseKeeper<'_> {
        LeaseKeeper::Provider(self)
    }

    fn plan(&self, request: &MachineRequest) -> Vec<PlannedResource> {
        use ResourceKind::{Cgroup, LoopDevice, Mount, Namespace, Process, Rootfs};
        let mut kinds = vec![Rootfs, Process, Namespace, Mount];
        if request.volume.is_some() {
            kinds.push(LoopDevice);
        }
        if request.caps.cpus.is_some() || request.caps.memory.is_some() {
            kinds.push(Cgroup);
        }
        names::plan(&self.folders, &request.id, &kinds)
    }

    async fn create(&self, request: &MachineRequest, confirm: Confirm<'_>, teller: &Teller) -> Result<Machine, Fault> {
        let spec = self.specify(request)?;
        if spec.ids.is_none() {
            teller.machine(&request.id, MachineEvent::RootIsRoot);
        }
        let host_key = (self.config.host_keys)()?;
        let folder = make_folder(&self.folders, &request.id)?;
        let place = folder.path().display().to_string();
        confirm(ResourceKind::Rootfs, &place, &place)?;
        write_atomically(&folder.host_key(), host_key.private.as_bytes()).doing(|| "write the machine's host key")?;
        if request.network == Network::Host {
            self.write_proxies(&folder).await?;
        }
        launch::launch(&self.config, &spec)?
            .wait_until_ready(&|kind| names::resource_name(&self.folders, &request.id, kind), confirm)
            .await?;
        Ok(Machine {
            id: request.id.clone(),
            provider: ProviderKind::Local,
            platform: request.platform,
            run: request.run.clone(),
            owner: request.owner.clone(),
            image: request.image.clone(),
            address: Address::Handover { socket: folder.control() },
            user: request.user.clone(),
            identity: self.config.identity.clone(),
            host_key: HostKey::Exact { public: host_key.public.trim_end().to_owned() },
            volume: request.volume.map(|_| if self.config.privileged { DEVICE } else { init::VOLUME_PLACE }.to_owned()),
            hardware: None,
            created_at: request.now,
            expires_at: request.expires_at,
            name: None,
            kept: false,
            idle: request.idle,
        })
    }

    /// A local machine takes a third of a second on an idle computer; the limit is for a busy one.
    fn boot_limit(&self, _: Platform) -> Duration {
        Duration::from_secs(60)
    }

    /// Ending a machine takes a signal and a wait for the kernel. Removing its files took 2 s for 300,000 of them on an
    /// idle computer, and more than a minute after a part of Mercurial's suite on a busy one.
    fn release_limit(&self, kind: ResourceKind) -> Duration {
        match kind {
            ResourceKind::Rootfs => Duration::from_secs(15 * 60),
            _ => Duration::from_secs(60),
        }
    }

    async fn release(&self, resource: &Resource) -> Result<Fate, Fault> {
        let (releaser, resource) = (self.releaser.clone(), resource.clone());
        blocking(move || releaser.release(&resource)).await?
    }

    async fn observe(&self) -> Result<Vec<ObservedResource>, Fault> {
        let folders = self.folders.clone();
        Ok(blocking(move || observe::observe(&folders)).await??)
    }

    async fn console(&self, machine: &MachineId) -> Option<String> {
        launch::tail(&self.folders.machine(machine).console(), 40)
    }
}

#[async_trait]
impl Renew for LocalProvider {
    async fn renew(&self, machine: &Machine, until: Timestamp) -> Result<(), Fault> {
        launch::write_lease(&self.folders.machine(&machine.id), until.min(machine.expires_at).as_second())
    }
}
