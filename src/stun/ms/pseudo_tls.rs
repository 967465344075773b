//! Two hellos that look like TLS to a firewall; nothing is encrypted after them.

/// Bytes of the client's hello.
pub const CLIENT_HELLO_BYTES: usize = 50;
/// Bytes of the server's.
const SERVER_HELLO_BYTES: usize = 83;

/// Record of TLS 1.0 with a hello of 41 bytes, up to the random bytes.
const CLIENT_START: [u8; 11] = [0x16, 3, 1, 0, 0x2d, 1, 0, 0, 0x29, 3, 1];
/// No session, one suite (anonymous DH with RC4, which nobody offers in earnest), no compression,
/// no extensions.
const CLIENT_END: [u8; 7] = [0, 0, 2, 0, 0x18, 1, 0];
const SERVER_START: [u8; 11] = [0x16, 3, 1, 0, 0x4e, 2, 0, 0, 0x46, 3, 1];
const SERVER_END: [u8; 7] = [0, 0x18, 0, 0x0e, 0, 0, 0];

/// Tells whether `bytes` begin with the client's hello; `None` while that is open.
#[must_use]
pub fn is_client_hello(bytes: &[u8]) -> Option<bool> {
    let starts = bytes.iter().zip(CLIENT_START).all(|(byte, expected)| *byte == expected);
    let ends = bytes.iter().skip(43).zip(CLIENT_END).all(|(byte, expected)| *byte == expected);
    match starts && ends {
        false => Some(false),
        true => (bytes.len() >= CLIENT_HELLO_BYTES).then_some(true),
    }
}

/// Returns the server's answer: ServerHello and ServerHelloDone in one record.
#[must_use]
pub fn server_hello(random: [u8; 32], session: [u8; 32]) -> [u8; SERVER_HELLO_BYTES] {
    let mut hello = [0; SERVER_HELLO_BYTES];
    hello[..11].copy_from_slice(&SERVER_START);
    hello[11..43].copy_from_slice(&random);
    hello[43] = 32;
    hello[44..76].copy_from_slice(&session);
    hello[76..].copy_from_slice(&SERVER_END);
    hello
}
