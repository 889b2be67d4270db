//! Detached signatures in minisign's format, as `minisign` and `rsign` make them: both the
//! prehashed form and the older one.

#![forbid(unsafe_code)]

use minisign_verify as verify;

/// A public key.
#[derive(Clone, Debug)]
pub struct PublicKey(verify::PublicKey);

impl PublicKey {
    /// The key of a `.pub` file: a comment line, and the key in base64.
    ///
    /// # Errors
    /// It is no such file; in words.
    pub fn parse(bytes: &[u8]) -> Result<PublicKey, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
        verify::PublicKey::decode(text).map(PublicKey).map_err(|e| match e {
            verify::Error::UnsupportedAlgorithm => "it is of an unknown algorithm".to_owned(),
            _ => "it is no public key of minisign".to_owned(),
        })
    }

    /// Whether this is a signature of these bytes by this key.
    ///
    /// # Errors
    /// It is not, or is none at all; in words.
    pub fn verify(&self, bytes: &[u8], signature: &[u8]) -> Result<(), String> {
        let malformed = || "it is no signature of minisign".to_owned();
        let text = std::str::from_utf8(signature).map_err(|_| malformed())?;
        let signature = verify::Signature::decode(text).map_err(|_| malformed())?;
        self.0.verify(bytes, &signature, true).map_err(|e| match e {
            verify::Error::UnexpectedKeyId => "it was made by another key".to_owned(),
            _ => "it is not of these contents, or was altered".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::minisign::{KeyPair, SecretKey};

    fn signed(key: &SecretKey, data: &[u8]) -> Vec<u8> {
        ::minisign::sign(None, key, data, Some("trusted"), None).unwrap().into_string().into_bytes()
    }

    fn parse(pair: &KeyPair) -> PublicKey {
        PublicKey::parse(pair.pk.to_box().unwrap().to_string().as_bytes()).unwrap()
    }

    #[test]
    fn only_the_signature_of_these_bytes_by_this_key_is_taken() {
        let (ours, theirs) =
            (KeyPair::generate_unencrypted_keypair(), KeyPair::generate_unencrypted_keypair());
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        let key = parse(&ours);
        let good = signed(&ours.sk, b"print(1)\n");
        key.verify(b"print(1)\n", &good).unwrap();
        for bytes in [&b"print(2)\n"[..], b"print(1)", b"print(1)\n\n", b""] {
            let why = key.verify(bytes, &good).unwrap_err();
            assert_eq!(why, "it is not of these contents, or was altered");
        }
        let other = signed(&theirs.sk, b"print(1)\n");
        assert_eq!(key.verify(b"print(1)\n", &other).unwrap_err(), "it was made by another key");
    }

    #[test]
    fn no_altered_signature_is_taken() {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        let key = parse(&pair);
        let good = signed(&pair.sk, b"x");
        let comment = good.iter().position(|b| *b == b'\n').unwrap();
        // The first line is the untrusted comment, which anybody may change.
        for at in comment + 1..good.len() - 1 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            // The last digit of base64 has bits that carry nothing.
            let same = std::str::from_utf8(&bad).is_ok_and(|t| t.lines().count() == 4)
                && [b'=', b'\n'].contains(&good[at + 1]);
            assert!(same || key.verify(b"x", &bad).is_err(), "byte {at}");
        }
        for cut in 0..good.len() - 2 {
            assert!(key.verify(b"x", &good[..cut]).is_err(), "cut at {cut}");
        }
        for none in [&b""[..], b"\n\n\n\n", b"\xff", b"untrusted comment: x\nAAAA\n"] {
            assert_eq!(key.verify(b"x", none).unwrap_err(), "it is no signature of minisign");
            assert!(PublicKey::parse(none).is_err());
        }
    }

    /// Made by minisign 0.8, whose signatures are of the contents themselves.
    #[test]
    fn the_older_form_is_taken_too() {
        let key = PublicKey::parse(
            b"untrusted comment: x\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n",
        )
        .unwrap();
        let signature = b"untrusted comment: signature from minisign secret key
RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=
trusted comment: timestamp:1555779966\tfile:test
QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==
";
        key.verify(b"test", signature).unwrap();
        assert!(key.verify(b"Test", signature).is_err());
    }
}
