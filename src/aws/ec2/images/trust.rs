//! Trust in the owners of images: a person who bakes an image is root on every machine that boots from it. Pure.

use aws_sdk_ec2::types::Image;

use crate::ec2::images::record::{ImageStatus, status};
use crate::ec2::tags;

/// The word for everybody.
const ALL: &str = "all";

/// The people whose images are used besides one's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Nobody else's.
    #[default]
    Own,
    /// The images of these owners (`user@host`).
    These(Vec<String>),
    /// The images of everybody in the account.
    All,
}

impl Trust {
    /// The trust that a user's words mean: owners, or `all`.
    pub fn of(words: &[String]) -> Self {
        let words: Vec<String> =
            words.iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
        match words.is_empty() {
            true => Self::Own,
            false if words.iter().any(|word| word == ALL) => Self::All,
            false => Self::These(words),
        }
    }
}

/// A person who uses images, and the people whom that person trusts.
#[derive(Debug, Clone)]
pub struct ImageUser {
    /// The person: `user@host`.
    pub owner: String,
    /// The people whose images are used besides the person's own.
    pub trust: Trust,
}

impl ImageUser {
    fn is_own(&self, image: &Image) -> bool {
        tags::owner(image.tags()) == Some(self.owner.as_str())
    }

    /// Whether machines may boot from the image.
    pub fn accepts(&self, image: &Image) -> bool {
        let owner = tags::owner(image.tags());
        self.is_own(image)
            || match &self.trust {
                Trust::Own => false,
                Trust::These(owners) => owner.is_some_and(|owner| owners.iter().any(|trusted| trusted == owner)),
                Trust::All => true,
            }
    }

    /// The image to boot from: one's own before another's, then the newest by its creation date, which is RFC 3339 in
    /// one form and therefore sorts as text.
    pub fn choose<'a>(&self, images: &'a [Image]) -> Option<&'a Image> {
        let whole = images.iter().filter(|image| status(image) == ImageStatus::Available && self.accepts(image));
        whole.max_by_key(|image| (self.is_own(image), image.creation_date().unwrap_or_default()))
    }

    /// The owners of available images that are not accepted.
    pub fn untrusted_owners<'a>(&self, images: &'a [Image]) -> Vec<&'a str> {
        let whole = images.iter().filter(|image| status(image) == ImageStatus::Available && !self.accepts(image));
        let mut owners: Vec<&str> = whole.map(|image| tags::owner(image.tags()).unwrap_or("nobody")).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::ImageState;

    use super::*;

    fn image(id: &str, owner: Option<&str>, made: &str) -> Image {
        let tags = owner.map(|owner| vec![tags::tag(tags::OWNER, owner)]);
        Image::builder().image_id(id).state(ImageState::Available).creation_date(made).set_tags(tags).build()
    }

    fn reader(trusted: &[&str]) -> ImageUser {
        let words: Vec<String> = trusted.iter().map(|word| (*word).to_owned()).collect();
        ImageUser { owner: "ann@here".into(), trust: Trust::of(&words) }
    }

    #[test]
    fn ones_own_comes_first_and_anothers_where_it_is_trusted() {
        let images = [
            image("own-old", Some("ann@here"), "2026-11-01T00:00:00.000Z"),
            image("own", Some("ann@here"), "2026-11-02T00:00:00.000Z"),
            image("bobs", Some("bob@there"), "2026-11-03T00:00:00.000Z"),
            image("nobodys", None, "2026-11-04T00:00:00.000Z"),
        ];
        let chosen = |trusted: &[&str], images: &[Image]| {
            reader(trusted).choose(images).and_then(|image| image.image_id.clone()).unwrap_or_default()
        };
        for trusted in [&[][..], &["bob@there"], &["all"]] {
            assert_eq!(chosen(trusted, &images), "own", "{trusted:?}");
        }
        assert_eq!(chosen(&[], &images[2..]), "");
        assert_eq!(chosen(&["carl@there"], &images[2..]), "");
        assert_eq!(chosen(&["carl@there", " bob@there "], &images[2..]), "bobs");
        assert_eq!(chosen(&["all"], &images[2..]), "nobodys");
        assert_eq!(reader(&[]).untrusted_owners(&images), ["bob@there", "nobody"]);
        assert_eq!(chosen(&["all"], &[]), "");
    }
}
