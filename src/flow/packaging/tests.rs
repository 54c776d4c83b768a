use super::*;

fn cells() -> Vec<PackageCell> {
    ["a", "b", "c"].map(|name| PackageCell { name: name.to_owned(), what: name.to_owned() }).to_vec()
}

fn machine() -> MachineId {
    "hg-0123456789".parse().unwrap()
}

fn built(cell: &PackageCell) -> CellResult {
    CellResult { outcome: CellOutcome::Built, reason: None, ..not_built(cell, CellOutcome::Built, String::new(), None) }
}

fn outcomes(queue: &Queue, fault: Option<&Fault>) -> Vec<(String, CellOutcome)> {
    queue.results(&cells(), fault).into_iter().map(|result| (result.cell, result.outcome)).collect()
}

#[test]
fn a_cell_that_loses_two_machines_is_lost_and_the_others_are_built() {
    let (queue, fault) = (Queue::of(&cells()), Fault::infrastructure("gone"));
    assert!(!queue.is_begun());
    let first = queue.next().unwrap();
    assert!(queue.give_back(first, &machine(), &fault) && queue.is_begun());
    let again = queue.next().unwrap();
    assert_eq!(again.name, "a", "it comes first again");
    assert!(!queue.give_back(again, &machine(), &fault));
    while let Some(cell) = queue.next() {
        queue.end(built(&cell));
    }
    let names = |pairs: &[(&str, CellOutcome)]| -> Vec<(String, CellOutcome)> {
        pairs.iter().map(|(name, outcome)| ((*name).to_owned(), *outcome)).collect()
    };
    let expected = [("a", CellOutcome::Lost), ("b", CellOutcome::Built), ("c", CellOutcome::Built)];
    assert_eq!(outcomes(&queue, None), names(&expected));
}

#[test]
fn every_cell_has_a_result_whatever_happened() {
    let queue = Queue::of(&cells());
    let lost = queue.next().unwrap();
    assert!(queue.give_back(lost, &machine(), &Fault::infrastructure("gone")));
    let fault = Fault::infrastructure("no machine to be had");
    let results = queue.results(&cells(), Some(&fault));
    assert_eq!(results[0].outcome, CellOutcome::Lost, "nobody came to it again");
    assert_eq!(results[2].outcome, CellOutcome::NotBuilt);
    assert!(results.iter().all(|result| result.reason.as_deref() == Some("no machine to be had")), "{results:?}");

    let queue = Queue::of(&cells());
    let cell = queue.next().unwrap();
    let interrupted = Fault::new(FaultKind::Interrupted, "interrupted");
    assert!(!queue.give_back(cell, &machine(), &interrupted), "nobody wants it any more");
    assert_eq!(queue.results(&cells(), None)[0].outcome, CellOutcome::NotBuilt);
}
