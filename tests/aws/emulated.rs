//! The emulator of AWS for tests, with clients of the SDK for it.

use std::path::Path;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use support::tool::binary;

pub(crate) use aws_emulator::{Emulator, REGION};

/// Starts an emulator without real machines: for tests that need the interface only.
pub(crate) fn interface_only(folder: &Path) -> Emulator {
    start(folder, false)
}

/// Starts an emulator whose instances are real machines, on bases that the tests share.
pub(crate) fn with_machines(folder: &Path) -> Emulator {
    start(folder, true)
}

fn start(folder: &Path, machines: bool) -> Emulator {
    let options = aws_emulator::Options {
        folder: folder.join("emulator"),
        machines,
        executable: binary().into(),
        shares_moto: true,
        bases: support::images::cache(),
    };
    Emulator::start(options).unwrap()
}

/// A configuration for clients of the SDK that talk to the emulator, without the caller's environment.
pub(crate) async fn sdk(emulator: &Emulator) -> SdkConfig {
    let keys = aws_sdk_ec2::config::Credentials::new("emulator", "emulator", None, None, "emulator");
    aws_config::defaults(BehaviorVersion::latest())
        .credentials_provider(keys)
        .region(Region::new(REGION))
        .endpoint_url(emulator.endpoint())
        .timeout_config(
            aws_config::timeout::TimeoutConfig::builder().operation_timeout(Duration::from_secs(60)).build(),
        )
        .load()
        .await
}
