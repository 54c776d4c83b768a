//! A site: one provider with all that is needed to work on it; and where a flow gets the sites of a run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use model::connection::Connector;
use model::event::Teller;
use model::fault::Fault;
use model::machine::{Hardware, Machine, ProviderKind};
use model::price::Quote;
use model::provider::{ImageStore, MachineRequest, Provider};
use model::purge::Account;
use model::resource::{ObservedResource, Resource};
use tokio::sync::OnceCell;

/// One provider, how its machines are reached, and what they boot from. Clones are the same site.
#[derive(Clone)]
pub struct Site {
    /// Makes machines.
    pub provider: Arc<dyn Provider>,
    /// Reaches them.
    pub connector: Arc<dyn Connector>,
    /// Keeps what they boot from.
    pub images: Images,
    /// How long a machine lives without a sign from its driver.
    pub grace: Duration,
}

impl Site {
    /// The price of a machine that is not made yet; none if it costs nothing, or if no price can be had.
    pub async fn quote(&self, request: &MachineRequest, teller: &Teller) -> Option<Quote> {
        self.provider.abilities().pricing?.quote(request, teller).await
    }

    /// The price of a machine that was made; none as for [`Site::quote`].
    pub async fn price(&self, machine: &Machine, teller: &Teller) -> Option<Quote> {
        self.provider.abilities().pricing?.price(machine, teller).await
    }

    /// Refuses hardware that does not exist, where there is hardware to choose.
    pub async fn vet(&self, hardware: &Hardware) -> Result<(), Fault> {
        match self.provider.abilities().hardware {
            Some(range) => range.vet(hardware).await,
            None => Ok(()),
        }
    }

    /// Returns, with the reason, when the machine is seen to have ended by itself while it boots; never where only
    /// connecting shows that.
    pub async fn until_ended(&self, machine: &Machine) -> Fault {
        match self.provider.abilities().boot {
            Some(boot) => boot.wait_until_ended(machine).await,
            None => std::future::pending().await,
        }
    }
}

/// Looks for a provider's resources: those that it finds by itself, and those of the `open` rows that it finds only by
/// their names.
pub async fn observe(provider: &dyn Provider, open: &[Resource]) -> Result<Vec<ObservedResource>, Fault> {
    let mut observed = provider.observe().await?;
    if let Some(naming) = provider.abilities().naming {
        observed.extend(naming.observe_open(open).await?);
    }
    Ok(observed)
}

/// Opens a store of images.
type Open = dyn Fn() -> BoxFuture<'static, Result<Arc<dyn ImageStore>, Fault>> + Send + Sync;

/// The images of a site, opened when they are first asked for: work on a machine that boots from none of them makes nothing
/// that only images need. Clones are opened together.
#[derive(Clone)]
pub struct Images {
    open: Arc<Open>,
    store: Arc<OnceCell<Arc<dyn ImageStore>>>,
}

impl Images {
    /// Images that `open` opens. If it fails, the next caller tries it again.
    pub fn opened_by(
        open: impl Fn() -> BoxFuture<'static, Result<Arc<dyn ImageStore>, Fault>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Arc::new(open), store: Arc::default() }
    }

    /// Images that are open.
    pub fn of(store: Arc<dyn ImageStore>) -> Self {
        Self::opened_by(move || {
            let store = Arc::clone(&store);
            Box::pin(async { Ok(store) })
        })
    }

    /// The store. Fails where it cannot be opened.
    pub async fn store(&self) -> Result<&dyn ImageStore, Fault> {
        self.store.get_or_try_init(|| (self.open)()).await.map(AsRef::as_ref)
    }
}

/// Where a flow gets the sites that it works on: one run may use several, each by the kind of its provider.
#[async_trait]
pub trait Sites: Send + Sync {
    /// The provider that was asked for. Fails if the request contradicts itself.
    fn chosen_provider(&self) -> Result<ProviderKind, Fault>;

    /// The providers that may have things of ours which the journal does not know, those of this computer first.
    fn watched_providers(&self) -> Vec<ProviderKind>;

    /// The site of a provider. Fails where the provider cannot be worked with: there are no credentials, say.
    async fn site(&self, kind: ProviderKind) -> Result<Site, Fault>;

    /// How the machines of a provider are reached: all that is needed for a machine that exists, whoever made it.
    async fn connector(&self, kind: ProviderKind) -> Result<Arc<dyn Connector>, Fault>;

    /// The images of a provider. The provider itself is not asked for anything.
    fn images(&self, kind: ProviderKind) -> Images;

    /// The account of a provider, to be emptied. Fails where it has none, or cannot be asked.
    async fn account(&self, kind: ProviderKind) -> Result<Arc<dyn Account>, Fault>;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use connection::dummy::provider::DummyProvider;

    #[tokio::test]
    async fn images_are_opened_once_when_they_are_asked_for_and_again_where_that_failed() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let images = Images::opened_by(move || {
            let before = count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                let store: Arc<dyn ImageStore> = Arc::new(DummyProvider::new());
                if before == 0 { Err(Fault::outside("not yet")) } else { Ok(store) }
            })
        });
        let clone = images.clone();
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        assert!(images.store().await.is_err());
        assert!(clone.store().await.is_ok() && images.store().await.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 2, "the clone's is the same");
    }
}
