//! How cores count: plain numbers with a name and a sentence each, which the shard copies out once
//! a second and the metrics catalogue is made from.

/// Makes a struct of counters: its own sentence and name, then one sentence and name for each.
macro_rules! counters {
    (
        $(#[doc = $about:literal])+ $counters:ident:
        $($(#[doc = $help:literal])+ $name:ident),* $(,)?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $counters { $($(#[doc = $help])+ pub $name: u64),* }

        impl $counters {
            /// Names of the fields, for the metrics catalogue.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];
            /// What each of them counts, in the same order.
            pub const HELP: &'static [&'static str] = &[$(concat!($($help),+)),*];

            /// Returns the values in the order of [`Self::NAMES`].
            #[must_use]
            pub fn values(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$name),*]
            }
        }
    };
}

/// Lets two of a struct be added, field by field; one that is left out does not compile.
macro_rules! summed {
    ($counted:ident: $($name:ident),* $(,)?) => {
        impl std::ops::Add for $counted {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self { $($name: self.$name + other.$name),* }
            }
        }
    };
}

pub(super) use counters;
pub(crate) use summed;
