//! The last offset of each key, in a fixed amount of memory.
//!
//! Of a key only a 128-bit hash is kept, as Kafka's `SkimpyOffsetMap` does: two keys that hash alike would be taken for one,
//! and the older of them lost. With hashers that nobody outside knows, that happens by chance alone, for a billion keys with a
//! probability of about 10^-21.
//!
//! Deliberately absent: growing, removing, and choosing the hashers' keys.

use std::hash::{BuildHasher, RandomState};

use protocol::Offset;

/// Two hash functions whose results together name a key.
#[derive(Clone, Debug)]
pub struct KeyHashers([RandomState; 2]);

impl KeyHashers {
    #[must_use]
    pub fn new(first: RandomState, second: RandomState) -> KeyHashers {
        KeyHashers([first, second])
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.0[0].hash_one(key), self.0[1].hash_one(key)]
    }
}

/// All zeros where there is no key.
#[derive(Clone, Copy, Default)]
struct Slot {
    hash: [u64; 2],
    /// Offset plus one.
    after_offset: i64,
}

const SLOT_BYTES: usize = 24;
const _: () = assert!(size_of::<Slot>() == SLOT_BYTES);

/// See the module's documentation.
///
/// Invariants: at least one slot is free; a key lies at or behind the slot that its hash names, with no free slot between.
pub struct OffsetMap {
    hashers: KeyHashers,
    slots: Vec<Slot>,
    len: usize,
    len_max: usize,
}

/// Nine tenths full, a probe finds what it looks for after a few slots.
fn wanted_slots(keys: u64) -> usize {
    usize::try_from(keys.saturating_mul(10) / 9).unwrap_or(usize::MAX).saturating_add(2)
}

impl OffsetMap {
    /// Memory in which so many keys find room, in bytes.
    #[must_use]
    pub fn bytes_for(keys: u64) -> usize {
        wanted_slots(keys).saturating_mul(SLOT_BYTES)
    }

    /// Room for `keys` keys if `budget_bytes` allow it, else for as many as fit; for one at the least.
    #[must_use]
    pub fn new(budget_bytes: usize, keys: u64, hashers: KeyHashers) -> OffsetMap {
        let slots = wanted_slots(keys).min(budget_bytes / SLOT_BYTES).max(2);
        let len_max = (slots / 10 * 9 + slots % 10 * 9 / 10).clamp(1, slots - 1);
        OffsetMap { hashers, slots: vec![Slot::default(); slots], len: 0, len_max }
    }

    /// Notes that the key is at `offset`, behind where it was before; `false` if there is no room for another key.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hashers.hash(key);
        let at = self.find(hash);
        let slot = &mut self.slots[at];
        if slot.after_offset == 0 {
            if self.len == self.len_max {
                return false;
            }
            self.len += 1;
        }
        *slot = Slot { hash, after_offset: offset.0 + 1 };
        true
    }

    /// Where the key was last.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let slot = &self.slots[self.find(self.hashers.hash(key))];
        (slot.after_offset > 0).then(|| Offset(slot.after_offset - 1))
    }

    /// The slot with this hash, or the free one where it would go.
    fn find(&self, hash: [u64; 2]) -> usize {
        let mut at = ((u128::from(hash[0]) * self.slots.len() as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot.after_offset == 0 || slot.hash == hash {
                return at;
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn hashers() -> KeyHashers {
        KeyHashers::new(RandomState::new(), RandomState::new())
    }

    #[test]
    fn a_full_map_takes_known_keys_and_no_others() {
        let mut map = OffsetMap::new(10 * SLOT_BYTES, u64::MAX, hashers());
        let taken = (0u32..20).take_while(|key| map.put(&key.to_be_bytes(), Offset(0))).count();
        assert_eq!((taken, map.len()), (9, 9));
        assert!(map.put(&0u32.to_be_bytes(), Offset(70)));
        assert_eq!(map.get(&0u32.to_be_bytes()), Some(Offset(70)));
        assert_eq!(map.get(&9u32.to_be_bytes()), None);
    }

    #[test]
    fn there_is_room_for_a_key_at_the_least_and_no_more_than_wanted() {
        let mut smallest = OffsetMap::new(0, 0, hashers());
        assert!(smallest.put(b"a", Offset(1)) && !smallest.put(b"b", Offset(2)));
        assert!(OffsetMap::new(1 << 30, 100, hashers()).slots.len() < 200);
        let mut exact = OffsetMap::new(1 << 30, 1_000, hashers());
        assert!((0..1_000u32).all(|key| exact.put(&key.to_be_bytes(), Offset(0))));
        let mut bounded = OffsetMap::new(OffsetMap::bytes_for(1_000), u64::MAX, hashers());
        assert!((0..1_000u32).all(|key| bounded.put(&key.to_be_bytes(), Offset(0))));
    }

    proptest! {
        #[test]
        fn it_answers_as_a_map_does(puts in prop::collection::vec(0u16..300, 0..600), slots in 2usize..400) {
            let mut map = OffsetMap::new(slots * SLOT_BYTES, u64::MAX, hashers());
            let mut model: HashMap<u16, Offset> = HashMap::new();
            for (at, key) in puts.into_iter().enumerate() {
                if map.put(&key.to_be_bytes(), Offset(at as i64)) {
                    model.insert(key, Offset(at as i64));
                } else {
                    prop_assert!(!model.contains_key(&key) && map.len() == map.len_max);
                }
            }
            prop_assert_eq!(map.len(), model.len());
            for key in 0..300u16 {
                prop_assert_eq!(map.get(&key.to_be_bytes()), model.get(&key).copied());
            }
        }
    }
}
