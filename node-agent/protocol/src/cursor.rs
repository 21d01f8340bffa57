//! Reading and writing the fields of a body one after another, little-endian.
//!
//! What the fields mean together is not known here; `wire` and `handshake` say which follow which.

use crate::BodyError;

/// A value with a place in a body: one encoding for each value, and one value for each encoding.
pub(crate) trait Field: Sized {
    /// Fewest bytes that it takes: how many a body can hold is known before memory is asked for.
    const BYTES_MIN: usize;

    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes it from the front.
    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError>;
}

/// Takes fields from the front of a body.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], BodyError> {
        let split = self.0.split_at_checked(count);
        let (head, rest) = split.ok_or(BodyError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], BodyError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(BodyError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn take<T: Field>(&mut self) -> Result<T, BodyError> {
        T::take(self)
    }

    /// `count` fields of a kind, with no more memory than the bytes that are left justify.
    pub(crate) fn several<T: Field>(&mut self, count: usize) -> Result<Vec<T>, BodyError> {
        if count.saturating_mul(T::BYTES_MIN) > self.0.len() {
            return Err(BodyError::Truncated);
        }
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            fields.push(self.take()?);
        }
        Ok(fields)
    }

    /// Ends the body: nothing may be left.
    pub(crate) fn end(self) -> Result<(), BodyError> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(BodyError::Trailing { bytes }),
        }
    }
}

macro_rules! number {
    ($($number:ty),*) => {$(
        impl Field for $number {
            const BYTES_MIN: usize = size_of::<$number>();

            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
                reader.array().map(Self::from_le_bytes)
            }
        }
    )*};
}
number!(u8, u16, u32, u64, u128);

impl Field for bool {
    const BYTES_MIN: usize = 1;

    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        match reader.take::<u8>()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(BodyError::Tag {
                what: "yes or no",
                found,
            }),
        }
    }
}

impl<T: Field> Field for Option<T> {
    const BYTES_MIN: usize = 1;

    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        let there: bool = reader.take()?;
        there.then(|| reader.take()).transpose()
    }
}

impl<T: Field> Field for Vec<T> {
    const BYTES_MIN: usize = 2;

    fn put(&self, out: &mut Vec<u8>) {
        let count =
            u16::try_from(self.len()).expect("lists are checked against their limits first");
        count.put(out);
        for field in self {
            field.put(out);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        let count: u16 = reader.take()?;
        reader.several(usize::from(count))
    }
}

impl<const N: usize> Field for [u8; N] {
    const BYTES_MIN: usize = N;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
        reader.array()
    }
}

macro_rules! fields {
    ($($(#[$attribute:meta])* $name:ty { $($field:ident: $of:ty),* })*) => {$(
        impl Field for $name {
            const BYTES_MIN: usize = 0 $(+ <$of as Field>::BYTES_MIN)*;

            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
                Ok(Self { $($field: reader.take::<$of>()?),* })
            }
        }
    )*};
}
pub(crate) use fields;

/// Gives an enum one byte that says which variant it is, and the fields of that one behind it.
macro_rules! tagged {
    ($name:ident, $what:literal { $($tag:literal = $variant:ident { $($field:ident),* })* }) => {
        impl Field for $name {
            const BYTES_MIN: usize = 1;

            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($field),* } => {
                        out.push($tag);
                        $($field.put(out);)*
                    })*
                }
            }

            fn take(reader: &mut Reader<'_>) -> Result<Self, BodyError> {
                match reader.take::<u8>()? {
                    $($tag => Ok(Self::$variant { $($field: reader.take()?),* }),)*
                    found => Err(BodyError::Tag { what: $what, found }),
                }
            }
        }
    };
}
pub(crate) use tagged;

/// Gives each variant of an enum its kind of frame, and the fields that its body consists of.
macro_rules! bodies {
    ($name:ident {
        $($kind:ident = $variant:ident { $($field:ident),* })*
        $(, $tuple:ident($inner:ident))?
    }) => {
        impl $name {
            /// The kind of frame that it travels in.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant { .. } => Kind::$kind,)*
                    $(Self::$tuple(_) => Kind::$tuple,)?
                }
            }
        }

        /// Appends the body.
        pub(super) fn put(message: &$name, out: &mut Vec<u8>) {
            match message {
                $($name::$variant { $($field),* } => { $($field.put(out);)* })*
                $($name::$tuple($inner) => $inner.put(out),)?
            }
        }

        /// Takes the body of a kind; `None` if no such message has it.
        pub(super) fn take(
            kind: Kind,
            reader: &mut Reader<'_>,
        ) -> Result<Option<$name>, BodyError> {
            Ok(Some(match kind {
                $(Kind::$kind => $name::$variant { $($field: reader.take()?),* },)*
                $(Kind::$tuple => $name::$tuple(reader.take()?),)?
                _ => return Ok(None),
            }))
        }
    };
}
pub(crate) use bodies;

#[cfg(test)]
mod tests {
    use super::*;

    struct Wide;

    impl Field for Wide {
        const BYTES_MIN: usize = 100;

        fn put(&self, _: &mut Vec<u8>) {}

        fn take(_: &mut Reader<'_>) -> Result<Self, BodyError> {
            unreachable!("there are too few bytes for any")
        }
    }

    #[test]
    fn a_list_that_the_body_has_no_bytes_for_is_refused_before_anything_is_made() {
        let refused = Reader::new(&[0; 199]).several::<Wide>(2);
        assert_eq!(refused.err(), Some(BodyError::Truncated));
        let refused = Reader::new(&[0; 199]).several::<Wide>(usize::MAX);
        assert_eq!(refused.err(), Some(BodyError::Truncated));
    }
}
