//! Layouts of published models, worked out by hand.

use super::*;

/// (layers in a group, groups by window).
fn layout(
    windows: impl IntoIterator<Item = Option<usize>>,
) -> (usize, Vec<(Option<usize>, usize)>) {
    let layout = KvLayout::of(windows.into_iter().collect());
    let kinds = layout.kinds.iter().map(|kind| (kind.window, kind.groups));
    (layout.layers_per_group, kinds.collect())
}

#[test]
fn layers_that_see_alike_are_one_group() {
    assert_eq!(layout([None; 24]), (24, vec![(None, 1)]));
    assert_eq!(layout([Some(4096); 32]), (32, vec![(Some(4096), 1)]));
}

#[test]
fn groups_are_as_large_as_every_kind_allows() {
    // gpt-oss-20b: every other of 24 layers.
    let gpt_oss = (0..24).map(|layer| Some(128).filter(|_| layer % 2 == 0));
    assert_eq!(layout(gpt_oss), (12, vec![(None, 1), (Some(128), 1)]));
    // Gemma 3: all but every sixth, 22 of 26 layers in the 1B and 52 of 62 in the 27B.
    let gemma = |layers, window| {
        (0..layers).map(move |layer: usize| Some(window).filter(|_| !(layer + 1).is_multiple_of(6)))
    };
    let small = (2, vec![(None, 2), (Some(512), 11)]);
    assert_eq!(layout(gemma(26, 512)), small);
    let large = (2, vec![(None, 5), (Some(1024), 26)]);
    assert_eq!(layout(gemma(62, 1024)), large);
    // 29 and 5 of 34 layers in the 4B have no divisor in common.
    let odd = (1, vec![(None, 5), (Some(1024), 29)]);
    assert_eq!(layout(gemma(34, 1024)), odd);
}

#[test]
fn every_layer_has_a_place_of_its_own() {
    let windows = (0..12).map(|layer| [Some(8), None, Some(8), Some(32)][layer % 4]);
    let layout = KvLayout::of(windows.clone().collect());
    assert_eq!((layout.layers_per_group, layout.num_groups()), (3, 4));
    let mut seen = std::collections::HashSet::new();
    for (place, window) in layout.places.iter().zip(windows) {
        assert!(seen.insert((place.group, place.slot)));
        assert!(place.slot < 3);
        let group_of = [None, Some(8), Some(8), Some(32)][place.group];
        assert_eq!(group_of, window, "{place:?}");
    }
    assert_eq!(seen.len(), 12);
}
