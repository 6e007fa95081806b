//! Charts as data and as files.

use super::axis::{Axis, name};
use super::scene::{Mark, Scene};
use super::{Chart, Look, Panel, PlotFile, Series, layout, png, svg};

fn chart(points: Vec<(f64, f64)>, limit: Vec<(f64, f64)>) -> Chart {
    let series = |label: &str, look, points| Series {
        label: label.to_owned(),
        look,
        points,
    };
    Chart {
        title: "A <model> & more".to_owned(),
        subtitle: "of two threads".to_owned(),
        notes: vec!["small print".to_owned()],
        panels: vec![Panel {
            heading: "Tokens a second".to_owned(),
            x_label: "Sequences at once".to_owned(),
            series: vec![
                series("measured", Look::Measured, points),
                series("memory", Look::MemoryLimit, limit),
            ],
        }],
    }
}

fn dots(scene: &Scene) -> Vec<(f32, f32)> {
    let of = |mark: &Mark| match mark {
        Mark::Dot { center, .. } => Some(*center),
        _ => None,
    };
    scene.marks.iter().filter_map(of).collect()
}

#[test]
fn ticks_are_powers_of_two_and_round_decimals() {
    let axis = Axis::over([1.0, 64.0].into_iter(), 2.0, 0.25);
    assert_eq!(axis.ticks(), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]);
    let axis = Axis::over([30.0, 400.0].into_iter(), 10.0, 0.0);
    let names: Vec<String> = axis.ticks().into_iter().map(name).collect();
    assert_eq!(names, ["50", "100", "200"]);
    let axis = Axis::over([1.0, 1e5].into_iter(), 10.0, 0.0);
    let names: Vec<String> = axis.ticks().into_iter().map(name).collect();
    assert_eq!(names, ["1", "10", "100", "1000", "10k", "100k"]);
    assert_eq!([0.05, 0.2, 2e6].map(name), ["0.05", "0.2", "2M"]);
}

#[test]
fn one_point_and_none_have_axes_too() {
    for points in [vec![], vec![(8.0, 100.0)]] {
        let scene = layout::scene(&chart(points.clone(), vec![]));
        let mut texts = scene.marks.iter().filter(|m| matches!(m, Mark::Text(_)));
        assert!(texts.all(|m| !format!("{m:?}").contains("NaN")));
        // One more is in the legend.
        assert_eq!(dots(&scene).len(), points.len() + 1);
        assert!(!png::paint(&scene).expect("a picture").is_empty());
    }
}

#[test]
fn equal_factors_are_equal_distances() {
    let scene = layout::scene(&chart(vec![(1.0, 10.0), (2.0, 40.0), (4.0, 160.0)], vec![]));
    let [_, a, b, c] = dots(&scene)[..] else {
        panic!("three points and one of the legend");
    };
    assert!((b.0 - a.0 - (c.0 - b.0)).abs() < 0.01);
    assert!((b.1 - a.1 - (c.1 - b.1)).abs() < 0.01);
    assert!(b.0 > a.0 && b.1 < a.1);
}

#[test]
fn a_limit_far_above_is_cut_off_and_does_not_press_the_rest_down() {
    let measured = vec![(1.0, 10.0), (2.0, 20.0)];
    let near = layout::scene(&chart(measured.clone(), vec![(1.0, 500.0), (2.0, 1000.0)]));
    let far = layout::scene(&chart(measured, vec![(1.0, 500.0), (2.0, 1e9)]));
    assert!(far.marks.iter().all(|mark| match mark {
        Mark::Line { points, .. } => points.iter().all(|(_, y)| *y >= 0.0),
        _ => true,
    }));
    assert_eq!(dots(&near)[1].1, dots(&far)[1].1);
}

#[test]
fn names_of_models_mean_nothing_to_xml() {
    let scene = layout::scene(&chart(vec![(1.0, 1.0)], vec![]));
    let text = svg::write(&scene);
    assert!(text.contains("A &lt;model&gt; &amp; more"), "{text}");
    assert!(text.contains("prefers-color-scheme: dark"));
}

#[test]
fn a_picture_has_letters_and_lines_in_it() {
    let scene = layout::scene(&chart(vec![(1.0, 1.0), (2.0, 3.0)], vec![]));
    let png = png::paint(&scene).expect("a picture");
    let picture = tiny_skia::Pixmap::decode_png(&png).expect("what was encoded");
    let size = (picture.width() as f32, picture.height() as f32);
    assert_eq!(size, (2.0 * scene.width, (2.0 * scene.height).ceil()));
    let dark = picture.pixels().iter().filter(|p| p.red() < 0x60);
    assert!(dark.count() > 1000);
}

#[test]
fn the_name_of_a_file_says_its_kind() {
    assert!(PlotFile::parse("a/b.svg").is_ok() && PlotFile::parse("B.PNG").is_ok());
    for wrong in ["plot", "plot.pdf", "svg"] {
        assert!(PlotFile::parse(wrong).is_err(), "{wrong}");
    }
}
