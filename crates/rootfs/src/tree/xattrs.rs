//! Sets of extended attributes. Few files have any, and many of those have the same.

use std::collections::HashMap;

type Bytes = Box<[u8]>;

/// Extended attributes of one file, by full name, as `getxattr` gives the values. Sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Xattrs(Vec<(Bytes, Bytes)>);

impl Xattrs {
    /// Sets one, in place of one of the same name.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.0.binary_search_by(|(own, _)| (**own).cmp(name)) {
            Ok(place) => self.0[place].1 = value.into(),
            Err(place) => self.0.insert(place, (name.into(), value.into())),
        }
    }

    /// Takes `name` away, if it is there.
    pub fn remove(&mut self, name: &[u8]) {
        self.0.retain(|(own, _)| **own != *name);
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let place = self.0.binary_search_by(|(own, _)| (**own).cmp(name)).ok()?;
        Some(&self.0[place].1)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Every different set, once. The first is the empty one.
#[derive(Debug)]
pub(super) struct XattrSets {
    sets: Vec<Xattrs>,
    places: HashMap<Xattrs, u32>,
    bytes: usize,
}

impl Default for XattrSets {
    fn default() -> Self {
        Self { sets: vec![Xattrs::default()], places: HashMap::new(), bytes: 0 }
    }
}

impl XattrSets {
    pub(super) fn get(&self, place: u32) -> &Xattrs {
        &self.sets[place as usize]
    }

    /// The place of a set, kept from now on.
    pub(super) fn intern(&mut self, set: &Xattrs) -> u32 {
        if set.is_empty() {
            return 0;
        }
        if let Some(&place) = self.places.get(set) {
            return place;
        }
        // Two copies of names and values, each in an allocation of its own.
        self.bytes +=
            set.iter().map(|(name, value)| 2 * (name.len() + value.len() + 64)).sum::<usize>();
        let place = u32::try_from(self.sets.len()).unwrap_or(0);
        self.sets.push(set.clone());
        self.places.insert(set.clone(), place);
        place
    }

    /// Memory that the sets take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
