//! What lets files in: a user and a password, which a token stands for as well.

use reqwest::RequestBuilder;

/// The user that a token belongs to, by the convention of the Python package index.
const TOKEN_USER: &str = "__token__";

/// A user and a secret. Neither its text nor its debug output shows the secret.
pub struct Credentials {
    user: String,
    secret: String,
}

impl Credentials {
    /// An API token.
    pub fn token(token: &str) -> Self {
        Self::login(TOKEN_USER, token)
    }

    /// A user and a password.
    pub fn login(user: &str, secret: &str) -> Self {
        Self { user: user.to_owned(), secret: secret.to_owned() }
    }

    pub(crate) fn add_to(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.user, Some(&self.secret))
    }
}

// A derived implementation would bring the secret into a log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_not_shown() {
        let shown = format!("{:?}", Credentials::token("pypi-abc"));
        assert!(shown.contains(TOKEN_USER) && !shown.contains("pypi-abc"));
    }
}
