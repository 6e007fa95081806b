//! Which adapters a request runs with, from names to what a batch says.
//!
//! A [`Mix`] is a set of adapters with their scales. Keys and values depend on it as
//! they depend on tokens, so each mix has a number that the prefix cache keeps apart;
//! [`Mixes`] gives the same mix the same number for as long as it is remembered, and
//! no number twice.

use super::error::SubmitError;
use super::request::Lora;
use crate::sampling::ParamError;
use std::collections::HashMap;
use std::sync::Arc;

/// How many mixes are remembered when nobody uses them. One that was forgotten only
/// loses what the prefix cache has of it.
const MAX_IDLE: usize = 1024;

/// Adapters that run together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mix {
    /// 0 for no adapters.
    number: u64,
    members: Box<[Member]>,
}

/// An adapter's index and the bits of its scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Member {
    adapter: u32,
    scale: u32,
}

impl Mix {
    /// What tells it from other mixes.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Adapters and scales, by adapter.
    pub(crate) fn members(&self) -> impl Iterator<Item = (u32, f32)> {
        let members = self.members.iter();
        members.map(|member| (member.adapter, f32::from_bits(member.scale)))
    }

    #[cfg(test)]
    pub(crate) fn numbered(number: u64, members: &[(u32, f32)]) -> Arc<Self> {
        let members = members.iter().map(|&(adapter, scale)| Member {
            adapter,
            scale: scale.to_bits(),
        });
        let members = members.collect();
        Arc::new(Self { number, members })
    }
}

/// The mixes that requests have asked for.
#[derive(Debug, Default)]
pub(super) struct Mixes {
    /// Names of adapters, by index.
    names: Vec<String>,
    known: HashMap<Box<[Member]>, Arc<Mix>>,
    num_numbered: u64,
}

impl Mixes {
    pub(super) fn new(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            ..Self::default()
        }
    }

    /// The mix of what a request asks for. A scale of 0 is no adapter.
    pub(super) fn of(&mut self, lora: &[Lora]) -> Result<Arc<Mix>, SubmitError> {
        let mut members = Vec::with_capacity(lora.len());
        for Lora { name, scale } in lora {
            let known = self.names.iter().position(|known| known == name);
            let Some(adapter) = known else {
                return Err(SubmitError::UnknownAdapter {
                    name: name.clone(),
                    known: self.names.clone(),
                });
            };
            if !scale.is_finite() {
                let found = scale.to_string();
                return Err(ParamError::new("lora", "a finite scale", found).into());
            }
            let adapter = adapter as u32;
            if members.iter().any(|m: &Member| m.adapter == adapter) {
                let found = format!("`{name}` twice");
                return Err(ParamError::new("lora", "each adapter once", found).into());
            }
            members.push(Member {
                adapter,
                scale: scale.to_bits(),
            });
        }
        members.retain(|member| f32::from_bits(member.scale) != 0.0);
        members.sort_unstable();
        Ok(self.numbered(members.into()))
    }

    fn numbered(&mut self, members: Box<[Member]>) -> Arc<Mix> {
        if members.is_empty() {
            return Arc::default();
        }
        if let Some(known) = self.known.get(&members) {
            return Arc::clone(known);
        }
        if self.known.len() >= MAX_IDLE {
            self.known.retain(|_, mix| Arc::strong_count(mix) > 1);
        }
        self.num_numbered += 1;
        let mix = Arc::new(Mix {
            number: self.num_numbered,
            members: members.clone(),
        });
        self.known.insert(members, Arc::clone(&mix));
        mix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixes() -> Mixes {
        Mixes::new(&["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn the_same_adapters_and_scales_are_one_mix_in_whatever_order() {
        let mut mixes = mixes();
        let ab = mixes
            .of(&[Lora::new("a"), Lora::new("b").scaled(0.5)])
            .unwrap();
        let ba = mixes
            .of(&[Lora::new("b").scaled(0.5), Lora::new("a")])
            .unwrap();
        assert_eq!(ab, ba);
        assert_eq!(ab.members().collect::<Vec<_>>(), [(0, 1.0), (1, 0.5)]);
        let mut numbers = vec![0, ab.number()];
        for lora in [Lora::new("a"), Lora::new("b"), Lora::new("a").scaled(-1.0)] {
            numbers.push(mixes.of(&[lora]).unwrap().number());
        }
        numbers.dedup();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_scale_of_zero_is_no_adapter() {
        let mut mixes = mixes();
        for nothing in [
            vec![],
            vec![Lora::new("a").scaled(0.0), Lora::new("b").scaled(-0.0)],
        ] {
            assert_eq!(mixes.of(&nothing).unwrap().number(), 0);
        }
    }

    #[test]
    fn what_cannot_be_mixed_says_why() {
        let mut mixes = mixes();
        let error = |mixes: &mut Mixes, lora: &[Lora]| mixes.of(lora).unwrap_err().to_string();
        assert_eq!(
            error(&mut mixes, &[Lora::new("c")]),
            "unknown adapter `c`, expected one of: a, b"
        );
        assert_eq!(
            error(&mut mixes, &[Lora::new("a"), Lora::new("a")]),
            "`lora` is `a` twice, expected each adapter once"
        );
        assert!(error(&mut mixes, &[Lora::new("a").scaled(f32::NAN)]).contains("finite"));
        let none = Mixes::new(&[]).of(&[Lora::new("a")]).unwrap_err();
        assert_eq!(
            none.to_string(),
            "unknown adapter `a`: the engine was built without adapters"
        );
    }

    #[test]
    fn mixes_that_nobody_uses_are_forgotten_and_numbers_are_not_used_again() {
        let mut mixes = mixes();
        let kept = mixes.of(&[Lora::new("b")]).unwrap();
        for i in 1..5000_u16 {
            let lora = Lora::new("a").scaled(f32::from(i));
            assert_eq!(mixes.of(&[lora]).unwrap().number(), 1 + u64::from(i));
        }
        assert!(mixes.known.len() <= MAX_IDLE + 1, "{}", mixes.known.len());
        assert_eq!(mixes.of(&[Lora::new("b")]).unwrap(), kept);
        assert_eq!(mixes.of(&[Lora::new("a")]).unwrap().number(), 5001);
    }
}
