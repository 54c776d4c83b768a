//! The notice that the machine is about to be taken back. Whoever watches for it gives it once; all work on the machine can see it.

use model::provider::ability::Notice;

use crate::task::durable::Durable;

impl Durable {
    /// Says that notice was given.
    pub fn give_notice(&self, notice: Notice) {
        self.inner.notice.send_replace(Some(notice));
    }

    /// The notice, if it was given.
    pub fn notice(&self) -> Option<Notice> {
        self.inner.notice.borrow().clone()
    }

    /// Returns when notice is given; never on a machine that is not taken back.
    pub async fn noticed(&self) -> Notice {
        let mut given = self.inner.notice.subscribe();
        match given.wait_for(Option::is_some).await.map(|notice| notice.clone()) {
            Ok(Some(notice)) => notice,
            // Nobody is left who could give it.
            _ => std::future::pending().await,
        }
    }
}
