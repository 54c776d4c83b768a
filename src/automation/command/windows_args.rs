//! The options for the image of a machine that has Windows.

use std::time::Duration;

use flow::order::Order;
use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::ProviderKind;
use project::image::{Definition, ImageChoice};
use project::mercurial::WindowsWork;

use crate::command::boot_image::{BootImage, BootImages, plan_of_snapshot};
use crate::command::ec2::args::BaseImageArg;
use crate::command::machine_args::HardwareArgs;
use crate::compose::Context;

/// The definition whose images stand in for Windows on this computer.
const STANDIN: &str = "windows-standin";

/// The definition whose images have Windows.
pub const WINDOWS_DEV: &str = "windows-dev";

/// The options of every command that makes a machine that has Windows.
#[derive(Debug, Clone, clap::Args)]
pub struct WindowsImageArgs {
    /// The image to boot: a definition, or what `machine snapshot` has made [default: windows-standin, on EC2 windows-dev]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// The image below it.
    #[command(flatten)]
    base: BaseImageArg,
}

/// The image of a machine that has Windows.
pub struct WindowsImage {
    /// How it is baked.
    pub plan: ImagePlan,
    /// The user to log in as.
    user: String,
}

impl WindowsImage {
    /// The order of a machine of this image, or of one that somebody else made, which has a user of its own.
    pub fn order(image: Option<&Self>, hardware: &HardwareArgs, context: &Context, ttl: Duration) -> Order {
        let user = image.map_or("hg", |image| image.user.as_str());
        let order = hardware.order(context, image.map(|image| &image.plan), user, ttl);
        // Somebody else's machine is of no image that could say it.
        Order { platform: WindowsWork::PLATFORM, ..order }
    }
}

impl WindowsImageArgs {
    /// Refuses options that have no meaning for machines of this provider.
    pub fn refuse_unfit(&self, kinds: &[ProviderKind]) -> Result<(), Fault> {
        self.base.refuse_unfit(kinds)
    }

    /// The image; none for a machine that somebody else made.
    pub async fn plan(&self, context: &Context, kind: ProviderKind) -> Result<Option<WindowsImage>, Fault> {
        let usual = match kind {
            ProviderKind::Host => return Ok(None),
            ProviderKind::Ec2 => WINDOWS_DEV,
            ProviderKind::Local | ProviderKind::Dummy => STANDIN,
        };
        let name = self.image.as_deref().unwrap_or(usual);
        let images = BootImages::of(context, &[kind], [name]).await?;
        let (plan, user) = match images.get(context, kind, name)? {
            BootImage::Snapshot(record) => {
                let given = [("`--base-image-name`", self.base.name().is_some())];
                let user = record.snapshot.as_ref().map(|of| of.user.clone()).unwrap_or_default();
                (plan_of_snapshot(record, None, kind, &given)?, user)
            }
            BootImage::Definition(definition) => {
                let plan = definition.plan(&choice(context, &definition, &self.base)?)?;
                (plan, definition.login_user().to_owned())
            }
        };
        if plan.platform != WindowsWork::PLATFORM {
            return Err(Fault::usage(format!("machines of the image `{name}` do not have Windows"))
                .hint("Name another with `--image`."));
        }
        Ok(Some(WindowsImage { plan, user }))
    }
}

/// The choice of an image of `definition`, on the base image that was named.
pub fn choice(context: &Context, definition: &Definition, base: &BaseImageArg) -> Result<ImageChoice, Fault> {
    let usual = definition.distro_for(None, &context.settings.defaults.distro);
    let distro = base.name().and_then(|name| definition.distro_of_cloud_name(name)).unwrap_or(usual);
    let mut choice = ImageChoice::new(context.base_choice()?, distro);
    choice.values = context.values(definition.parameters(), true);
    choice.cloud_name = base.name().map(str::to_owned);
    Ok(choice)
}
