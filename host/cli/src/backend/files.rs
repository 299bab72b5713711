//! The files that open a store which is elsewhere, or let others open the store that is here.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;

// Without a doc comment: clap would take it for the text of every command that has them.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct StoreFiles {
    /// File with the password of the store's user, for postgres://; without it STOCKADE_STORE_PASSWORD
    /// is used
    #[arg(long, value_name = "FILE")]
    pub(crate) store_password_file: Option<PathBuf>,
    /// File with the token of the store, for stockade://, instead of a certificate. With --serve-store:
    /// the token that opens this store
    #[arg(long, value_name = "FILE")]
    pub(crate) store_token_file: Option<PathBuf>,
    /// The certificate that is shown to the other side of a store, for stockade:// and --serve-store,
    /// PEM: see `stockade peer-keys`
    #[arg(long, value_name = "FILE")]
    pub(crate) store_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) store_key: Option<PathBuf>,
    /// The authority that signs the certificates of both sides, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) store_ca: Option<PathBuf>,
}

impl StoreFiles {
    /// Each file, else that of `other`.
    pub(crate) fn or(&self, other: Self) -> Self {
        let mine = self.clone();
        Self {
            store_password_file: mine.store_password_file.or(other.store_password_file),
            store_token_file: mine.store_token_file.or(other.store_token_file),
            store_cert: mine.store_cert.or(other.store_cert),
            store_key: mine.store_key.or(other.store_key),
            store_ca: mine.store_ca.or(other.store_ca),
        }
    }

    /// The first option that is given, for a command line without a store.
    pub(super) fn given(&self, with_keys: bool) -> Option<&'static str> {
        let keys = [
            ("--store-token-file", &self.store_token_file),
            ("--store-cert", &self.store_cert),
            ("--store-key", &self.store_key),
            ("--store-ca", &self.store_ca),
        ];
        let password = ("--store-password-file", &self.store_password_file);
        let all = keys.into_iter().filter(|_| with_keys).chain([password]);
        all.into_iter().find(|(_, file)| file.is_some()).map(|(option, _)| option)
    }

    /// Certificate and key, which belong together.
    pub(super) fn identity(&self) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
        match (&self.store_cert, &self.store_key) {
            (Some(certificate), Some(key)) => {
                crate::warn_of_readers(key, "store's key");
                Ok(Some((certificate.clone(), key.clone())))
            }
            (None, None) => Ok(None),
            _ => Err(Failure::usage("--store-cert and --store-key belong together")),
        }
    }

    /// The authority, which both sides need.
    pub(super) fn authority(&self, option: &str) -> Result<PathBuf, Failure> {
        self.store_ca.clone().ok_or_else(|| {
            Failure::usage(format!(
                "{option} needs --store-ca: both sides prove who they are; `stockade peer-keys DIR` \
                 makes the files"
            ))
        })
    }
}
