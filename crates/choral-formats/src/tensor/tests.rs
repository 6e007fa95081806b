use super::{TensorInfo, TensorView};
use crate::Dtype;

fn info(dtype: Dtype, shape: &[usize]) -> TensorInfo {
    TensorInfo {
        name: "t".to_owned(),
        dtype,
        shape: shape.to_vec(),
    }
}

#[test]
fn rows_are_all_dimensions_but_the_innermost() {
    let info = info(Dtype::I8, &[2, 3, 4]);
    let bytes: Vec<u8> = (0..24).collect();
    let view = TensorView::new(&info, &bytes).unwrap();
    assert_eq!((view.rows(), view.row_len()), (6, 4));
    assert_eq!(view.row_bytes(5), [20, 21, 22, 23]);
}

#[test]
fn rows_of_blocks_are_cut_between_blocks() {
    let info = info(Dtype::Q8_0, &[2, 64]);
    assert_eq!(info.byte_len(), Some(2 * 2 * 34));
    let mut bytes = vec![0; 136];
    // The second row: d = 1 in both blocks, and one element that is not zero.
    (bytes[69], bytes[103], bytes[68 + 34 + 2]) = (0x3c, 0x3c, 7);
    let view = TensorView::new(&info, &bytes).unwrap();
    let mut row = [1.0; 64];
    view.dequantize_row(1, &mut row).unwrap();
    assert_eq!((row[31], row[32], row[33]), (0.0, 7.0, 0.0));
    let mut all = [1.0; 128];
    view.dequantize(&mut all).unwrap();
    assert_eq!(all[64..], row);
}

#[test]
fn sizes_that_overflow_are_no_sizes() {
    assert_eq!(info(Dtype::F32, &[usize::MAX, 2]).byte_len(), None);
    assert_eq!(info(Dtype::F32, &[usize::MAX / 2]).byte_len(), None);
    assert_eq!(info(Dtype::F32, &[usize::MAX, usize::MAX, 0]).rows(), None);
    assert_eq!(
        info(Dtype::Q4_K, &[2, 128]).byte_len(),
        None,
        "rows are not whole blocks"
    );
}

#[test]
fn a_scalar_is_one_row_of_one_and_an_empty_tensor_has_no_rows() {
    let scalar = info(Dtype::F16, &[]);
    assert_eq!(
        (scalar.rows(), scalar.row_len(), scalar.byte_len()),
        (Some(1), 1, Some(2))
    );
    let empty = info(Dtype::F16, &[0, 8]);
    assert_eq!(TensorView::new(&empty, &[]).unwrap().rows(), 0);
}

#[test]
fn a_view_holds_exactly_the_bytes_of_its_tensor() {
    let info = info(Dtype::F16, &[2, 2]);
    assert!(TensorView::new(&info, &[0; 8]).is_ok());
    assert!(TensorView::new(&info, &[0; 7]).is_err());
    assert!(TensorView::new(&info, &[0; 9]).is_err());
}

#[test]
#[should_panic(expected = "row 2 of `t`, which has 2")]
fn a_row_that_is_not_there_is_a_bug_of_the_caller() {
    let info = info(Dtype::I8, &[2, 1]);
    TensorView::new(&info, &[0; 2]).unwrap().row_bytes(2);
}
