//! Work beside the owning task without which the brain would be one in name only: the scanner, errands, links. When one
//! of them panics, the brain leaves and its successor learns everything anew; a brain that lives on half would never
//! look at the directory again, or leave a vassal waiting for an errand for ever.

use super::inputs::{Inbox, Input};

/// Tells the owning task when the work around it panics: to be held by it.
#[derive(Debug)]
pub(crate) struct Vital {
    work: &'static str,
    inbox: Inbox,
}

impl Vital {
    /// Watches over the work of this name.
    pub(crate) fn new(work: &'static str, inbox: Inbox) -> Vital {
        Vital { work, inbox }
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.inbox.tell(Input::Broken(self.work));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_panic_is_told() {
        let (inbox, mut inputs) = Inbox::new();
        let vital = Vital::new("an errand", inbox.clone());
        tokio::spawn(async move { drop(vital) }).await.unwrap();
        assert!(inputs.try_recv().is_err());
        let vital = Vital::new("an errand", inbox);
        let failed = tokio::spawn(async move {
            let _vital = vital;
            tokio::task::yield_now().await;
            panic!("as it may happen");
        });
        assert!(failed.await.unwrap_err().is_panic());
        assert!(matches!(inputs.try_recv(), Ok(Input::Broken("an errand"))));
    }
}
