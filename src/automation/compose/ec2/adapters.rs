//! The adapters that are constructed for Amazon EC2 alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws::ec2;
use aws::lambda::LambdaFunctions;
use aws::ssm::SsmConnector;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use connection::ssh::SshConnector;
use model::check::Check;
use model::connection::Connector;
use model::fault::Fault;
use model::function::Functions;
use model::provider::{ImageStore, Provider};
use model::purge::Account;

use crate::compose::ec2::ADDRESS_URL;
use crate::compose::ec2::by_address::ByAddress;
use crate::compose::sites::{SiteBuilder, host_keys};
use crate::globals::ec2::ConnectArg;

/// The region when nothing else is said: the one that the predecessor of this tool used.
const REGION: &str = "us-west-2";

/// The value of a variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

impl SiteBuilder {
    /// Credentials by the SDK's standard chain, and the region: by option, by settings, by the chain, else `us-west-2`.
    /// Makes no request yet.
    async fn aws(&self) -> SdkConfig {
        self.ec2.config.get_or_init(|| self.load_aws()).await.clone()
    }

    async fn load_aws(&self) -> SdkConfig {
        let loader = aws_config::defaults(BehaviorVersion::latest());
        let region = self.globals.ec2.aws_region.as_deref().or_else(|| self.ec2_setting("region"));
        let config = match region {
            Some(region) => loader.region(Region::new(region.to_owned())).load().await,
            None => loader.load().await,
        };
        if config.region().is_some() {
            return config;
        }
        config.into_builder().region(Region::from_static(REGION)).build()
    }

    /// Refuses a profile that is named and does not exist, which the SDK would report as missing credentials.
    fn check_profile(&self) -> Result<(), Fault> {
        let Some(name) = variable("AWS_PROFILE") else { return Ok(()) };
        let file = |at: &str, usual: &str| variable(at).map_or_else(|| self.home.join(usual), PathBuf::from);
        let files = [file("AWS_CONFIG_FILE", ".aws/config"), file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")];
        let texts: Vec<String> = files.iter().filter_map(|file| std::fs::read(file).ok()).map(lossy).collect();
        ec2::preflight::check_profile(&name, &texts)
    }

    fn ec2_setting(&self, key: &str) -> Option<&str> {
        self.settings.extra(&format!("{}.{key}", ec2::SETTINGS.name))
    }

    /// The clients of AWS, and whose credentials they use.
    async fn clients(&self) -> Result<Arc<ec2::clients::Clients>, Fault> {
        self.check_profile()?;
        let sdk = self.aws().await;
        Ok(Arc::clone(self.ec2.clients.get_or_init(|| Arc::new(ec2::clients::Clients::new(sdk)))))
    }

    /// The configuration of the provider.
    async fn ec2_config(&self) -> Result<ec2::Ec2Config, Fault> {
        let clients = self.clients().await?;
        // Where no credentials are, EC2 was not used from here: the id of the state directory says that it was.
        clients.identity().await?;
        let identity = self.identity()?;
        Ok(ec2::Ec2Config {
            region: clients.region().to_owned(),
            clients,
            owner: self.owner.clone(),
            state_id: self.state.id()?,
            identity: identity.path,
            public_key: identity.public,
            host_keys: host_keys(),
            ingress: self.globals.ec2.ingress_cidr.clone(),
            address_url: self.address_url(),
            trust: self.trust(),
            cache: self.state.root().join("prices.json"),
        })
    }

    /// The checks that can be made before a machine is asked for.
    pub(in crate::compose) async fn ec2_doctor(&self) -> Result<Vec<Check>, Fault> {
        Ok(ec2::doctor::checks(self.clients().await, &self.address_url()).await)
    }

    /// The connector of machines of EC2.
    pub(in crate::compose) async fn ec2_connector(&self) -> Arc<dyn Connector> {
        Arc::new(ByAddress { ssh: SshConnector::default(), ssm: SsmConnector::new(self.aws().await) })
    }

    /// The account that the credentials are for.
    pub(in crate::compose) async fn ec2_account(&self) -> Result<Arc<dyn Account>, Fault> {
        Ok(Arc::new(ec2::purge::Ec2Account::open(self.clients().await?).await?))
    }

    /// The functions of the account. Makes no request yet.
    pub async fn functions(&self) -> Result<Arc<dyn Functions>, Fault> {
        Ok(Arc::new(LambdaFunctions::new(self.clients().await?)))
    }

    /// The provider. Fails where there are no credentials that AWS accepts.
    pub(in crate::compose) async fn ec2_provider(&self) -> Result<Arc<dyn Provider>, Fault> {
        Ok(Arc::new(ec2::Ec2Provider::open(self.ec2_config().await?).await?))
    }

    /// The images of the account.
    pub(in crate::compose) async fn ec2_images(&self) -> Result<Arc<dyn ImageStore>, Fault> {
        let clients = self.clients().await?;
        // A problem with credentials, region or network is reported at once.
        clients.identity().await?;
        let (region, state_id) = (clients.region().to_owned(), self.state.id()?);
        Ok(Arc::new(ec2::images::Ec2Images::new(clients, &region, self.reader(), &state_id)))
    }

    /// The URL that tells this computer's public address.
    fn address_url(&self) -> String {
        variable(ADDRESS_URL)
            .or_else(|| self.ec2_setting("address-url").map(str::to_owned))
            .unwrap_or_else(|| ec2::settings::ADDRESS_URL.to_owned())
    }

    /// The owner who reads images, and the owners whose images are trusted.
    fn reader(&self) -> ec2::images::ImageUser {
        ec2::images::ImageUser { owner: self.owner.clone(), trust: self.trust() }
    }

    /// The owners whose images machines may boot from: by option, else by settings.
    fn trust(&self) -> ec2::images::Trust {
        let trusted = &self.globals.ec2.trust_images_of;
        let set = || self.ec2_setting("trust-images-of").unwrap_or_default().split(',').map(str::to_owned).collect();
        ec2::images::Trust::of(&if trusted.is_empty() { set() } else { trusted.clone() })
    }

    /// The instance types of the settings; empty for the provider's choice.
    pub fn instance_types(&self) -> Vec<String> {
        let types = self.ec2_setting("instance-type").unwrap_or_default();
        types.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// How long a machine of EC2 lives without a sign of its driver.
    pub(in crate::compose) fn ec2_grace(&self) -> Duration {
        let grace = self.ec2_setting("grace").and_then(|text| model::base::text::parse_duration(text).ok());
        grace.unwrap_or(ec2::settings::GRACE)
    }

    /// Whether machines of EC2 are to be reached without SSH.
    pub fn by_systems_manager(&self) -> bool {
        self.globals.ec2.connect == ConnectArg::Ssm
    }
}
