//! The parts of Amazon EC2 that all sites of this process share. `without_ec2` has the same names for a tool that
//! was built without it.

mod adapters;
mod by_address;

use std::sync::{Arc, OnceLock};

use aws::ec2;
use aws_config::SdkConfig;
use model::fault::Fault;
use model::setting::{Section, SettingKind};
use tokio::sync::OnceCell;

/// It can be chosen.
pub(super) const IS_BUILT_IN: bool = true;

/// The provider's section of the settings file.
pub(super) const SETTINGS: Option<Section> = Some(ec2::SETTINGS);

/// The variable with the URL that tells this computer's public address.
const ADDRESS_URL: &str = "AUTOMATION_ADDRESS_URL";

/// The settings of EC2 that a variable takes the place of, each with the variable.
pub(super) const VARIABLES: &[(&str, &str)] =
    &[("ec2.region", "AUTOMATION_AWS_REGION"), ("ec2.address-url", ADDRESS_URL)];

/// Configuration and clients, opened once for all sites of this process.
#[derive(Clone, Default)]
pub(super) struct Ec2Clients {
    config: Arc<OnceCell<SdkConfig>>,
    clients: Arc<OnceLock<Arc<ec2::clients::Clients>>>,
}

/// Refuses variables of EC2 whose values make no sense.
pub(super) fn check_variables() -> Result<(), Fault> {
    let Some(value) = std::env::var_os(ADDRESS_URL) else { return Ok(()) };
    let known = SettingKind::url("");
    if value.is_empty() || value.to_str().is_some_and(|text| known.accepts(text)) {
        return Ok(());
    }
    Err(Fault::usage(format!("`{ADDRESS_URL}` holds no URL: `{}`", value.to_string_lossy()))
        .hint(format!("Set it to a URL such as `https://checkip.amazonaws.com`, or `unset {ADDRESS_URL}`.")))
}
