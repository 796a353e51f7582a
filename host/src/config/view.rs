//! A group of keys of a checked file, read by key: what is left out gets its default from [`super::shape`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::paths::resolve;
use super::read::{self, Scalar};
use super::report::{Place, Problem, SourceFile};
use super::shape::{Kind, Need, Shape};
use super::yaml::{Node, Value};
use crate::record::Timestamp;

/// What building gives. An error here means that the check of the file let something through.
pub type Result<T> = std::result::Result<T, Box<Problem>>;

/// A group of keys, perhaps one that the file leaves out.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The group, where the file has it.
    pub node: Option<&'a Node>,
    /// The keys that it may have.
    pub shape: &'static Shape,
    /// Where relative paths begin.
    pub base: &'a Path,
}

impl<'a> View<'a> {
    /// The node of a key, where the file has it.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.node?.get(key)
    }

    /// Another group, by its node.
    pub fn of(&self, node: Option<&'a Node>, shape: &'static Shape) -> View<'a> {
        View { node, shape, base: self.base }
    }

    /// The group under a key.
    pub fn group(&self, key: &str, shape: &'static Shape) -> View<'a> {
        self.of(self.get(key), shape)
    }

    /// Whether the file has the key.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The entries under a key by name, each built by a function.
    pub fn named<T>(
        &self,
        key: &str,
        build: impl Fn(&Arc<str>, &'a Node) -> Result<T>,
    ) -> Result<BTreeMap<Arc<str>, T>> {
        let entries = self.get(key).map(Node::entries).unwrap_or_default();
        let built = entries.iter().map(|entry| {
            let name: Arc<str> = entry.key.as_str().into();
            build(&name, &entry.value).map(|built| (name, built))
        });
        built.collect()
    }

    /// One name or a list of them.
    pub fn names(&self, key: &str) -> Vec<Arc<str>> {
        self.texts(key).into_iter().map(Arc::from).collect()
    }

    /// One text or a list of them.
    pub fn texts(&self, key: &str) -> Vec<&'a str> {
        self.get(key).map(Node::texts).unwrap_or_default().into_iter().map(|(text, _)| text).collect()
    }

    /// A text, a name or a word.
    pub fn text(&self, key: &str) -> Result<String> {
        match self.scalar(key)? {
            Some(Scalar::Text(text)) => Ok(text),
            _ => Err(self.unread(key)),
        }
    }

    /// A path, absolute.
    pub fn path(&self, key: &str) -> Result<PathBuf> {
        Ok(resolve(self.base, &self.text(key)?))
    }

    /// A number or bytes, in the type that holds its range.
    pub fn number<T: TryFrom<u64>>(&self, key: &str) -> Result<T> {
        self.number_or_none(key)?.ok_or_else(|| self.unread(key))
    }

    /// As [`View::number`], where the key may be left out.
    pub fn number_or_none<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>> {
        match self.scalar(key)? {
            None => Ok(None),
            Some(Scalar::Number(number)) => T::try_from(number).map(Some).map_err(|_| self.unread(key)),
            Some(_) => Err(self.unread(key)),
        }
    }

    /// A duration.
    pub fn duration(&self, key: &str) -> Result<Duration> {
        self.duration_or_none(key)?.ok_or_else(|| self.unread(key))
    }

    /// A duration that may be left out.
    pub fn duration_or_none(&self, key: &str) -> Result<Option<Duration>> {
        match self.scalar(key)? {
            None => Ok(None),
            Some(Scalar::Duration(duration)) => Ok(Some(duration)),
            Some(_) => Err(self.unread(key)),
        }
    }

    /// An age; `None`: for ever.
    pub fn age(&self, key: &str) -> Result<Option<Duration>> {
        match self.scalar(key)? {
            Some(Scalar::Age(age)) => Ok(age),
            _ => Err(self.unread(key)),
        }
    }

    /// An address that may be left out.
    pub fn address_or_none(&self, key: &str) -> Result<Option<SocketAddr>> {
        match self.scalar(key)? {
            None => Ok(None),
            Some(Scalar::Address(address)) => Ok(Some(address)),
            Some(_) => Err(self.unread(key)),
        }
    }

    /// A time that may be left out.
    pub fn time_or_none(&self, key: &str) -> Result<Option<Timestamp>> {
        match self.scalar(key)? {
            None => Ok(None),
            Some(Scalar::Time(time)) => Ok(Some(time)),
            Some(_) => Err(self.unread(key)),
        }
    }

    /// The value of a key, or its default.
    fn scalar(&self, key: &str) -> Result<Option<Scalar>> {
        let Some(known) = self.shape.key(key) else { return Err(self.unread(key)) };
        let kind = match known.kind {
            // The one that is a single value; the other is a group, and its reader asks for it by `group`.
            Kind::Either(one, _) => one,
            ref kind => kind,
        };
        let node = match (self.get(key), known.need) {
            (Some(node), _) => node.clone(),
            (None, Need::Default(text)) => default_node(kind, text),
            (None, _) => return Ok(None),
        };
        read::scalar(kind, key, &node).map(Some).map_err(Box::new)
    }

    /// The problem of a key that the check let through.
    pub fn unread(&self, key: &str) -> Box<Problem> {
        let place = self.node.map_or_else(no_place, |node| node.place.clone());
        Box::new(
            Problem::error("unread", format!("`{key}` of {} could not be read", self.shape.what)).at(&place, "here"),
        )
    }
}

/// A default as if it stood in the file.
fn default_node(kind: &Kind, text: &str) -> Node {
    let value = match (kind, text.parse()) {
        (Kind::Number(_), Ok(number)) => Value::Integer(number),
        _ => Value::Text(text.into()),
    };
    Node { value, place: no_place() }
}

fn no_place() -> Place {
    Place::start_of(&SourceFile::new("default", String::new()))
}

#[cfg(test)]
mod tests {
    use super::super::shape::{self, Variant};
    use super::*;

    /// Every group of keys that can be reached from one.
    fn groups(kind: &'static Kind, found: &mut Vec<&'static Shape>) {
        let variants = |variants: &'static [Variant]| variants.iter().map(|variant| variant.shape).collect();
        let shapes: Vec<&'static Shape> = match kind {
            Kind::Group(shape) => vec![*shape],
            Kind::Variants(_, all) => variants(all),
            Kind::List(one) | Kind::OneOrMany(one) | Kind::Named(one, _) => return groups(one, found),
            Kind::Either(one, other) => return [one, other].into_iter().for_each(|kind| groups(kind, found)),
            _ => return,
        };
        for shape in shapes {
            found.push(shape);
            shape.keys.iter().for_each(|key| groups(&key.kind, found));
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_key() {
        let mut shapes = vec![&shape::ROOT];
        shape::ROOT.keys.iter().for_each(|key| groups(&key.kind, &mut shapes));
        assert!(shapes.len() > 15, "only {} groups were found", shapes.len());
        let mut defaults = 0;
        for shape in shapes {
            for key in shape.keys {
                assert!(key.doc.ends_with('.'), "{} of {} has no doc sentence", key.name, shape.what);
                if let Need::Default(_) = key.need {
                    let view = View { node: None, shape, base: Path::new("/") };
                    assert!(view.scalar(key.name).unwrap().is_some(), "{} of {}", key.name, shape.what);
                    defaults += 1;
                }
            }
        }
        assert!(defaults > 15, "only {defaults} defaults were found");
    }
}
