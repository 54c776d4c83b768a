//! The local provider on this very computer: boots, deaths, leftovers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

mod boots;
mod deaths;
mod layers;

use local::images::LocalImages;
use local::images::mirrors::Mirrors;
use local::{LocalConfig, LocalProvider};
use model::base::id::{MachineId, ResourceId, RunId};
use model::event::{Event, Sink, Teller};
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::image::{BaseSpec, Fingerprint, ImagePlan, LayerPlan, LayerRecipe};
use model::key_pair::KeyPair;
use model::machine::{Address, Caps, Hardware, HostKey, Machine, Network, Platform, ProviderKind};
use model::provider::{ImageStore, MachineRequest, Provider};
use model::resource::{Fate, PlannedResource, Resource, ResourceKind, ResourceState};

use jiff::Timestamp;

use support::keep;

/// The fingerprint of the base; to be changed with what is in it.
const LAYER: &str = "aa00000000000000000000000000000000000000000000000000000000000002";

/// Hands the connected socket on to `ssh`, whose `ProxyUseFdpass` fits the handover.
const FDPASS: &str = r"
import array, socket, sys
folder, name = sys.argv[1].rsplit('/', 1)
import os
os.chdir(folder)
s = socket.socket(socket.AF_UNIX); s.connect(name)
data, anc, _, _ = s.recvmsg(4096, socket.CMSG_SPACE(4))
if data == b'.': sys.exit('refused: ended for good')
if data[:1] != b'+': sys.exit(data.decode())
fds = array.array('i'); fds.frombytes(anc[0][2][:4])
out = socket.socket(fileno=os.dup(1))
out.sendmsg([b'\0'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
";

/// What a journal would hold.
#[derive(Default, Clone)]
struct Rows(Arc<Mutex<Vec<Resource>>>);

impl Rows {
    fn write_down(&self, planned: Vec<PlannedResource>) {
        let now = Timestamp::now();
        let mut rows = self.0.lock().unwrap();
        rows.extend(planned.into_iter().map(|plan| Resource {
            id: ResourceId::random(),
            run: RunId::new(now),
            machine: plan.machine,
            provider: ProviderKind::Local,
            kind: plan.kind,
            name: plan.name,
            locator: None,
            state: ResourceState::Planned,
            planned_at: now,
            gone_at: None,
            note: None,
        }));
    }

    fn confirm(&self, id: &MachineId) -> impl Fn(ResourceKind, &str, &str) -> Result<(), Fault> + Send + Sync + use<> {
        let (rows, id) = (self.0.clone(), id.clone());
        move |kind, name, locator| {
            let mut rows = rows.lock().unwrap();
            let row = rows
                .iter_mut()
                .find(|row| row.machine == id && row.kind == kind && row.name == name)
                .expect("was planned");
            row.locator = Some(locator.to_owned());
            row.state = ResourceState::Present;
            Ok(())
        }
    }

    async fn release_all(&self, provider: &LocalProvider) {
        let rows = self.0.lock().unwrap().clone();
        for row in rows.iter().rev() {
            assert_eq!(provider.release(row).await.unwrap(), Fate::Gone, "{row:?}");
        }
    }
}

/// A state directory with a key and one layer.
struct World {
    folder: Place,
    config: LocalConfig,
    provider: LocalProvider,
    rows: Rows,
}

fn keygen(path: &Path) -> KeyPair {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(made.success());
    KeyPair {
        private: std::fs::read_to_string(path).unwrap(),
        public: std::fs::read_to_string(path.with_extension("pub")).unwrap(),
    }
}

enum Place {
    Own(tempfile::TempDir),
    Other(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Other(folder) => folder,
        }
    }
}

/// A provider's configuration with fresh keys in the folder `keys`.
fn config(state: &Path, keys: &Path) -> LocalConfig {
    let identity = keys.join("id");
    let public_key = keygen(&identity).public;
    let keys = keys.to_owned();
    LocalConfig {
        state: state.to_owned(),
        executable: PathBuf::from(env!("CARGO_BIN_EXE_automation")),
        identity,
        public_key,
        host_keys: Arc::new(move || {
            let path = keys.join(MachineId::random().as_str());
            Ok(keygen(&path))
        }),
        mirrors: Mirrors::default(),
        keyring: None,
        environment: std::env::vars_os().collect(),
        privileged: false,
    }
}

impl World {
    /// A new state directory whose only layer is `base`.
    fn new(base: &Path) -> Self {
        Self::named(base, "state")
    }

    /// The same, with a name for the state directory.
    fn named(base: &Path, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layer = folder.path().join(name).join("images/layers").join(LAYER);
        std::fs::create_dir_all(&layer).unwrap();
        std::os::unix::fs::symlink(base, layer.join("fs")).unwrap();
        std::fs::write(layer.join("layer.json"), "{}").unwrap();
        let config = config(&folder.path().join(name), folder.path());
        Self { provider: LocalProvider::new(config.clone()), config, folder: Place::Own(folder), rows: Rows::default() }
    }

    /// The state directory of another process's world.
    fn at(folder: &Path) -> Self {
        let keys = folder.join(MachineId::random().as_str());
        std::fs::create_dir(&keys).unwrap();
        let config = config(&folder.join("state"), &keys);
        let folder = Place::Other(folder.to_owned());
        Self { provider: LocalProvider::new(config.clone()), config, folder, rows: Rows::default() }
    }

    fn state(&self) -> &Path {
        &self.config.state
    }

    fn request(&self) -> MachineRequest {
        let now = Timestamp::now();
        MachineRequest {
            platform: Platform::Linux,
            id: MachineId::random(),
            run: RunId::new(now),
            owner: "test".into(),
            image: "test".into(),
            layers: vec![Fingerprint(LAYER.into())],
            cloud: None,
            snapshot: false,
            hardware: Hardware::default(),
            user: "root".into(),
            network: Network::Loopback,
            caps: Caps::default(),
            volume: None,
            filesystem: Filesystem::Ext4,
            now,
            expires_at: now + Duration::from_secs(3600),
            grace: Duration::from_secs(60),
            max_cost: None,
            idle: None,
        }
    }

    async fn create(&self, request: &MachineRequest) -> Result<Machine, Fault> {
        self.rows.write_down(self.provider.plan(request));
        self.provider.create(request, &self.rows.confirm(&request.id), &Teller::silent()).await
    }

    async fn release_all(&self) {
        self.rows.release_all(&self.provider).await;
        assert_eq!(self.provider.observe().await.unwrap(), []);
    }

    fn ssh(&self, machine: &Machine, command: &str) -> Output {
        let Address::Handover { socket } = &machine.address else { panic!("no handover") };
        let HostKey::Exact { public } = &machine.host_key else { panic!("no key") };
        let known = self.folder.path().join(format!("known-{}", machine.id));
        std::fs::write(&known, format!("{} {public}\n", machine.id)).unwrap();
        let helper = self.folder.path().join("fdpass.py");
        std::fs::write(&helper, FDPASS).unwrap();
        let paths = [helper.to_str().unwrap(), socket.to_str().unwrap()];
        Command::new("ssh")
            .args(["-F", "none", "-o", "ProxyUseFdpass=yes", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
            .args(["-o", &format!("ProxyCommand=python3 {}", model::base::quote::join(&paths).unwrap())])
            .args(["-o", &format!("UserKnownHostsFile={}", known.display()), "-o", "StrictHostKeyChecking=yes"])
            .arg("-i")
            .arg(&machine.identity)
            .arg(format!("{}@{}", machine.user, machine.id))
            .arg(command)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn run(&self, machine: &Machine, command: &str) -> String {
        let output = self.ssh(machine, command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "`{command}`: {:?} {said}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Prints what is told, for a look with `--nocapture`.
struct Printing;

impl Sink for Printing {
    fn event(&self, event: Event) {
        eprintln!("{event:?}");
    }
}

fn printing() -> Teller {
    Teller::new(Arc::new(Printing), Arc::new(jiff::Timestamp::now))
}

fn base_plan() -> ImagePlan {
    let base = BaseSpec {
        family: "debian".into(),
        suite: "bookworm".into(),
        suites: vec!["bookworm".into(), "bookworm-updates".into()],
        security_suite: Some("bookworm-security".into()),
        components: vec!["main".into()],
        packages: vec!["openssh-server".into(), "sudo".into(), "procps".into(), "e2fsprogs".into()],
    };
    ImagePlan {
        platform: Platform::Linux,
        baked_on: Platform::Linux,
        name: "test".into(),
        distro: "debian12".into(),
        values: std::collections::BTreeMap::new(),
        layers: vec![LayerPlan {
            name: "base".into(),
            description: "a small Debian".into(),
            recipe: LayerRecipe::Base(base),
            fingerprint: Fingerprint(LAYER.into()),
        }],
    }
}

/// A base userland: made once with the provider itself, kept for other tests and later runs.
async fn base() -> PathBuf {
    let cache = std::env::var_os("AUTOMATION_TEST_CACHE")
        .map_or_else(|| support::root().join("target/test-cache"), PathBuf::from);
    let state = cache.join(format!("local-{}", rustix::process::geteuid().as_raw()));
    std::fs::create_dir_all(&state).unwrap();
    let keys = tempfile::tempdir().unwrap();
    let config = config(&state, keys.path());
    let (provider, images) = (LocalProvider::new(config.clone()), LocalImages::new(config));
    let plan = base_plan();
    let layer = &plan.layers[0];
    let _lock = images.lock(&layer.fingerprint, &printing()).await.unwrap();
    if images.count_present(&plan).await.unwrap() == 0 {
        let (id, begun) = (MachineId::random(), Instant::now());
        let rows = Rows::default();
        rows.write_down(images.plan_base(&id));
        let made = images.make_base(layer, &id, Duration::from_secs(60), &rows.confirm(&id), &printing()).await;
        if made.is_ok() {
            let record = keep::commit(&images, layer, &id, begun.elapsed()).await.unwrap();
            eprintln!("{record:?}");
        }
        rows.release_all(&provider).await;
        made.unwrap();
    }
    state.join("images/layers").join(LAYER).join("fs")
}
