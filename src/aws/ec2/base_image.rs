//! The image that an instance boots from: the newest base image of a distribution, or the account's image with a
//! fingerprint.

use aws_sdk_ec2::types::Image;
use jiff::Timestamp;
use model::fault::Fault;
use model::image::{CloudBase, Fingerprint};

use crate::ec2::clients::Clients;
use crate::ec2::filters;
use crate::ec2::images::ImageUser;
use crate::ec2::tags;
use crate::ec2::trouble::{self, Class};

/// An image as a launch has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseImage {
    /// `ami-…`
    pub id: String,
    /// The image's name for its root device.
    pub root_device: String,
    /// The minimal size of the root volume in GiB.
    pub root_gib: i32,
    /// When it was made, where EC2 says so.
    pub made: Option<Timestamp>,
}

impl BaseImage {
    fn of(image: &Image) -> Option<Self> {
        let root_device = image.root_device_name.clone()?;
        let mapping = image.block_device_mappings().iter().find(|m| m.device_name() == Some(&root_device));
        let root_gib = mapping.and_then(|mapping| mapping.ebs()?.volume_size).unwrap_or(0);
        let made = image.creation_date().and_then(|date| date.parse().ok());
        Some(Self { id: image.image_id.clone()?, root_device, root_gib, made })
    }
}

/// The newest image by its creation date, which is RFC 3339 in one form and therefore sorts as text.
fn newest(images: &[Image]) -> Option<&Image> {
    images.iter().max_by_key(|image| image.creation_date().unwrap_or_default())
}

/// The newest image of the distribution: by its public parameter if it has one, else by owner and name.
pub(crate) async fn of_distribution(clients: &Clients, region: &str, base: &CloudBase) -> Result<BaseImage, Fault> {
    if let Some(parameter) = &base.parameter
        && let Some(id) = by_parameter(clients, region, parameter).await?
        && let Some(image) = by_id(clients, region, &id).await?
    {
        return Ok(image);
    }
    let call = clients
        .ec2(region)
        .describe_images()
        .owners(&base.owner)
        .filters(filters::match_value("name", &base.name))
        .filters(filters::match_value("state", "available"))
        .filters(filters::match_value("architecture", "x86_64"))
        .filters(filters::match_value("virtualization-type", "hvm"))
        .filters(filters::match_value("root-device-type", "ebs"));
    let doing = format!("look for the base image `{}` of {}", base.name, base.owner);
    let found = call.send().await.map_err(|error| trouble::fault(&doing, error))?;
    newest(found.images()).and_then(BaseImage::of).ok_or_else(|| {
        Fault::outside(format!("the account {} publishes no image `{}` in `{region}`", base.owner, base.name))
            .hint("Choose another `--aws-region`, or mend the distribution's `[…ec2]` table in `image.toml`.")
    })
}

/// The image id that the parameter holds; `None` if this region has no such parameter.
async fn by_parameter(clients: &Clients, region: &str, name: &str) -> Result<Option<String>, Fault> {
    match clients.ssm(region).get_parameter().name(name).send().await {
        Ok(found) => Ok(found.parameter.and_then(|parameter| parameter.value)),
        Err(error) if trouble::class(&error) == Class::NotFound => Ok(None),
        Err(error) => Err(trouble::fault(&format!("read the public parameter `{name}`"), error)),
    }
}

/// The image `id`; `None` if it does not exist any more.
async fn by_id(clients: &Clients, region: &str, id: &str) -> Result<Option<BaseImage>, Fault> {
    match clients.ec2(region).describe_images().image_ids(id).send().await {
        Ok(found) => Ok(found.images().first().and_then(BaseImage::of)),
        Err(error) if trouble::class(&error) == Class::NotFound => Ok(None),
        Err(error) => Err(trouble::fault(&format!("look at the image `{id}`"), error)),
    }
}

/// The image of the account with this fingerprint that `reader` may boot from; `name` is the image's name for messages.
pub(crate) async fn of_account(
    clients: &Clients,
    region: &str,
    reader: &ImageUser,
    name: &str,
    fingerprint: &Fingerprint,
) -> Result<BaseImage, Fault> {
    let call = clients
        .ec2(region)
        .describe_images()
        .owners("self")
        .filters(filters::match_tag(tags::FINGERPRINT, &fingerprint.0))
        .filters(filters::match_value("state", "available"));
    let found = call.send().await.map_err(|error| trouble::fault(&format!("look for the image `{name}`"), error))?;
    reader.choose(found.images()).and_then(BaseImage::of).ok_or_else(|| {
        let text = format!("the account has no image `{name}` of fingerprint {} in `{region}`", fingerprint.short());
        match reader.untrusted_owners(found.images()).as_slice() {
            [] => Fault::outside(text).hint(
                "`automation bootstrap-linux-dev --provider ec2` makes those of `linux-dev`, `automation image build NAME --provider ec2` any.",
            ),
            others => Fault::outside(format!("{text} except that of {}", others.join(", ")))
                .hint("`--trust-images-of OWNER` boots from another person's; `bootstrap-linux-dev` makes your own."),
        }
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{BlockDeviceMapping, EbsBlockDevice};

    use super::*;

    fn image(id: &str, made: &str) -> Image {
        let volume = |device: &str, size| {
            let ebs = EbsBlockDevice::builder().volume_size(size).build();
            BlockDeviceMapping::builder().device_name(device).ebs(ebs).build()
        };
        Image::builder()
            .image_id(id)
            .creation_date(made)
            .root_device_name("/dev/xvda")
            .block_device_mappings(volume("/dev/sdb", 99))
            .block_device_mappings(volume("/dev/xvda", 8))
            .build()
    }

    #[test]
    fn the_newest_counts_whatever_the_order() {
        let images = [
            image("ami-2", "2026-11-02T00:00:00.000Z"),
            image("ami-3", "2026-11-10T00:00:00.000Z"),
            image("ami-1", "2025-12-31T00:00:00.000Z"),
        ];
        assert_eq!(newest(&images).unwrap().image_id(), Some("ami-3"));
        assert_eq!(newest(&[]), None);
    }

    #[test]
    fn the_root_device_is_the_one_that_the_image_names() {
        let found = BaseImage::of(&image("ami-1", "")).unwrap();
        assert_eq!((found.root_device.as_str(), found.root_gib), ("/dev/xvda", 8));
        assert_eq!(BaseImage::of(&Image::builder().image_id("ami-1").build()), None, "an image without a root device");
    }
}
