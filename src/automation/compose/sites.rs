//! The only place that builds providers, image stores and connectors: the sites of this process. Those of EC2 are built
//! in `ec2`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use connection::host::HostProvider;
use connection::{self, ssh::SshConnector};
use flow::site::{Images, Site, Sites};
use local::images::{LocalImages, mirrors::Mirrors};
use local::{LocalConfig, LocalProvider};
use model::check::Check;
use model::connection::Connector;
use model::fault::Fault;
use model::key_pair::{KeyMaker, KeyPair};
use model::machine::{Machine, Platform, ProviderKind};
use model::provider::{ImageStore, Provider};
use model::purge::Account;
use state::dir::StateDir;
use state::keys::StoredKeyPair;
use state::settings::Settings;

use crate::compose::{ec2, executable, home, host, providers};
use crate::globals::Globals;
use crate::ui::{Screen, secret};

/// Builds the sites of this process from resolved values. Clones share the connections and clients that were opened.
#[derive(Clone)]
pub struct SiteBuilder {
    pub(super) settings: Settings,
    pub(super) state: StateDir,
    pub(super) screen: Arc<Screen>,
    pub(super) owner: String,
    /// Whether local machines are to be privileged ones.
    pub(super) privileged: bool,
    /// A machine that is up, on which to work in place of a new one.
    pub(super) taken: Option<Arc<Machine>>,
    pub(super) globals: Globals,
    pub(super) home: PathBuf,
    /// Read once, at the first use: a site's provider and its images both ask for it.
    pub(super) identity: Arc<OnceLock<StoredKeyPair>>,
    /// Configuration and clients of EC2.
    pub(super) ec2: ec2::Ec2Clients,
}

#[async_trait]
impl Sites for SiteBuilder {
    fn chosen_provider(&self) -> Result<ProviderKind, Fault> {
        if self.taken.is_some() {
            return Ok(ProviderKind::Host);
        }
        let Some(name) = self.globals.provider.as_deref() else {
            return Ok(if !self.globals.host.is_empty() { ProviderKind::Host } else { self.settings.provider });
        };
        match providers().find(|kind| kind.name() == name) {
            Some(kind) if kind != ProviderKind::Host && !self.globals.host.is_empty() => {
                Err(Fault::usage(format!("`--host` has no meaning with `--provider {name}`"))
                    .hint("Leave one of the two out."))
            }
            Some(kind) => Ok(kind),
            // Unreachable: the name was checked when the context was opened.
            None => Err(Fault::usage(format!("there is no provider `{name}`")).hint("Leave `--provider` out.")),
        }
    }

    fn watched_providers(&self) -> Vec<ProviderKind> {
        // The state directory gets its id at the first use of EC2.
        let cloud = self.chosen_provider().is_ok_and(|kind| kind == ProviderKind::Ec2) || self.state.has_id();
        [Some(ProviderKind::Local), cloud.then_some(ProviderKind::Ec2)].into_iter().flatten().collect()
    }

    async fn site(&self, kind: ProviderKind) -> Result<Site, Fault> {
        Ok(Site {
            provider: self.provider(kind).await?,
            connector: self.connector(kind).await?,
            images: self.images(kind),
            grace: self.grace(kind),
        })
    }

    async fn connector(&self, kind: ProviderKind) -> Result<Arc<dyn Connector>, Fault> {
        Ok(match kind {
            ProviderKind::Ec2 => self.ec2_connector().await,
            ProviderKind::Host if self.taken.is_none() => Arc::new(self.host_connector()),
            _ => Arc::new(SshConnector::default()),
        })
    }

    fn images(&self, kind: ProviderKind) -> Images {
        let builder = self.clone();
        Images::opened_by(move || {
            let builder = builder.clone();
            Box::pin(async move { builder.image_store(kind).await })
        })
    }

    async fn account(&self, kind: ProviderKind) -> Result<Arc<dyn Account>, Fault> {
        match kind {
            ProviderKind::Ec2 => self.ec2_account().await,
            kind => Err(Fault::usage(format!("provider `{}` has no account", kind.name()))),
        }
    }
}

impl SiteBuilder {
    async fn provider(&self, kind: ProviderKind) -> Result<Arc<dyn Provider>, Fault> {
        match kind {
            ProviderKind::Local => Ok(Arc::new(LocalProvider::new(self.local_config()?))),
            ProviderKind::Ec2 => self.ec2_provider().await,
            ProviderKind::Host => {
                if let Some(taken) = &self.taken {
                    return Ok(Arc::new(HostProvider::new(vec![host::as_found(taken)])));
                }
                let machines = self.globals.host.iter().map(|target| self.host_machine(target));
                Ok(Arc::new(HostProvider::new(machines.collect::<Result<_, _>>()?)))
            }
            ProviderKind::Dummy => Err(Fault::usage("provider `dummy` is for tests")),
        }
    }

    async fn image_store(&self, kind: ProviderKind) -> Result<Arc<dyn ImageStore>, Fault> {
        match kind {
            ProviderKind::Ec2 => self.ec2_images().await,
            // A user who tests on somebody else's machine still has images on this computer.
            ProviderKind::Local | ProviderKind::Host | ProviderKind::Dummy => {
                Ok(Arc::new(LocalImages::new(self.local_config()?)))
            }
        }
    }

    /// The machine that `USER@HOST[:PORT]` names. Its host key is the one in the user's `known_hosts`, which is read
    /// and never written.
    pub fn host_machine(&self, target: &str) -> Result<Machine, Fault> {
        host::machine(target, self.globals.platform, self.globals.identity.as_deref(), &self.home, &self.owner)
    }

    /// The machine that is there already, in words.
    pub fn there(&self) -> String {
        match &self.taken {
            Some(machine) => format!("{}, which is up", machine.words()),
            None => "somebody else's machine".to_owned(),
        }
    }

    /// How many machines of somebody else's were named.
    pub fn hosts(&self) -> usize {
        if self.taken.is_some() { 1 } else { self.globals.host.len() }
    }

    /// The system of somebody else's machine, as it was told.
    pub(super) fn platform(&self) -> Platform {
        self.taken.as_ref().map_or(self.globals.platform, |machine| machine.platform)
    }

    /// How long a machine of the provider lives without a sign of its driver.
    pub(super) fn grace(&self, kind: ProviderKind) -> Duration {
        let of_provider = || match kind {
            ProviderKind::Ec2 => self.ec2_grace(),
            _ => self.settings.grace,
        };
        self.globals.grace.unwrap_or_else(of_provider)
    }

    /// The key pair that logs in on our machines.
    pub(super) fn identity(&self) -> Result<StoredKeyPair, Fault> {
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

    /// Checks what can be made: on this computer, or in the account where EC2 was asked for.
    pub async fn doctor(&self) -> Result<Vec<Check>, Fault> {
        if self.chosen_provider()? == ProviderKind::Ec2 {
            return self.ec2_doctor().await;
        }
        Ok(local::doctor::checks(&self.local_config()?).await)
    }

    /// Opens connections to somebody else's machines; the screen holds its output back while it asks for a passphrase.
    fn host_connector(&self) -> SshConnector {
        let screen = Arc::clone(&self.screen);
        let ask = move |question: &str| {
            screen.hold();
            let answer = secret::ask(question);
            screen.resume();
            answer
        };
        SshConnector::default().with_login(host::login(self.globals.identity.is_some(), &self.home, Arc::new(ask)))
    }
}

/// The connector of a process that knows nothing but the machine: a key among the user's own counts as not named.
pub fn connector_of(machine: &Machine) -> impl Connector + use<> {
    if machine.provider != ProviderKind::Host {
        return SshConnector::default();
    }
    let home = home().unwrap_or_default();
    let named = !host::is_own(&home, &machine.identity);
    SshConnector::default().with_login(host::login(named, &home, Arc::new(secret::ask)))
}

/// Makes the host keys of machines.
pub(super) fn host_keys() -> KeyMaker {
    Arc::new(|| {
        let pair = connection::keys::generate("hg-automation-host")?;
        Ok(KeyPair { private: pair.private_openssh, public: pair.public_openssh })
    })
}
