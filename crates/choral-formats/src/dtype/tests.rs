use super::Dtype;

#[test]
fn ggml_numbers_are_those_of_ggml_h() {
    // Spot checks around the gaps that removed types have left.
    for (id, expected) in [
        (0, Some(Dtype::F32)),
        (3, Some(Dtype::Q4_1)),
        (4, None),
        (5, None),
        (6, Some(Dtype::Q5_0)),
        (14, Some(Dtype::Q6_K)),
        (23, Some(Dtype::IQ4_XS)),
        (30, Some(Dtype::BF16)),
        (31, None),
        (33, None),
        (34, Some(Dtype::TQ1_0)),
        (36, None),
        (39, Some(Dtype::MXFP4)),
        (43, None),
        (u32::MAX, None),
    ] {
        assert_eq!(Dtype::from_ggml(id), expected, "{id}");
    }
}

#[test]
fn numbers_go_both_ways() {
    for &dtype in Dtype::ALL {
        if let Some(id) = dtype.to_ggml() {
            assert_eq!(Dtype::from_ggml(id), Some(dtype));
        }
    }
    assert_eq!(Dtype::Q2_0.to_ggml(), Some(42));
    assert_eq!(Dtype::U32.to_ggml(), None);
}

#[test]
fn sizes_count_whole_blocks() {
    assert_eq!(Dtype::Q4_K.bytes_for(512), Some(288));
    assert_eq!(Dtype::Q4_K.bytes_for(511), None);
    assert_eq!(Dtype::F4.bytes_for(6), Some(3));
    assert_eq!(Dtype::F64.bytes_for(usize::MAX), None);
    assert_eq!(Dtype::MXFP4.bytes_for(0), Some(0));
}

#[test]
fn safetensors_types_have_the_size_that_safetensors_says() {
    use safetensors::Dtype as S;
    let all = [
        S::BOOL,
        S::F4,
        S::F6_E2M3,
        S::F6_E3M2,
        S::U8,
        S::I8,
        S::F8_E5M2,
        S::F8_E4M3,
        S::F8_E8M0,
        S::F8_E4M3FNUZ,
        S::F8_E5M2FNUZ,
        S::I16,
        S::U16,
        S::F16,
        S::BF16,
        S::I32,
        S::U32,
        S::F32,
        S::C64,
        S::F64,
        S::I64,
        S::U64,
    ];
    for theirs in all {
        let ours = Dtype::from_safetensors(theirs).unwrap();
        assert_eq!(ours.name(), theirs.to_string());
        assert_eq!(
            ours.block_bytes() * 8,
            ours.block_len() * theirs.bitsize(),
            "{ours}"
        );
    }
}
