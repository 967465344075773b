//! Certificate requests as a configuration for `openssl req`: one section for each certificate.

use std::fmt::Write as _;

use crate::plan::{CertificateRow, Eku, Plan};

/// Bytes a common name may have (RFC 5280 appendix A.1, ub-common-name).
const COMMON_NAME_MAX: usize = 64;

/// Returns the configuration; a plan with one certificate has it in the section that `openssl req`
/// reads by itself.
#[must_use]
pub fn csr(plan: &Plan) -> String {
    let mut text = String::from(
        "# Certificate requests; RSA, because partners with OCS or Lync may know nothing else.\n\
         # The key is made where the edge runs and leaves it only for other edges of the pool.\n",
    );
    let alone = plan.certificates.len() == 1;
    for row in &plan.certificates {
        write_request(&mut text, row, if alone { "req" } else { &row.name });
    }
    text
}

fn write_request(text: &mut String, row: &CertificateRow, section: &str) {
    let name = &row.name;
    let choice = if section == "req" { String::new() } else { format!(" -section {section}") };
    let _ = write!(
        text,
        "\n# {name}: {}; issuer: {}\n\
         # openssl req -new -config THIS_FILE{choice} -newkey rsa:2048 -noenc \\\n\
         #   -keyout {name}.key -out {name}.csr\n",
        row.shown,
        row.issuer.label()
    );
    for line in row.why.split("; ") {
        let _ = writeln!(text, "# * {line}");
    }
    let _ = write!(
        text,
        "[ {section} ]\nprompt = no\ndefault_md = sha256\nstring_mask = utf8only\n\
         distinguished_name = {name}_subject\nreq_extensions = {name}_extensions\n\
         \n[ {name}_subject ]\nCN = {}\n\
         \n[ {name}_extensions ]\nbasicConstraints = CA:FALSE\n\
         keyUsage = critical, digitalSignature, keyEncipherment\nextendedKeyUsage = {}\n\
         subjectAltName = @{name}_names\n\n[ {name}_names ]\n",
        common_name(row),
        match row.eku {
            Eku::Server => "serverAuth",
            Eku::ServerAndClient => "serverAuth, clientAuth",
        }
    );
    for (index, san) in row.names.iter().enumerate() {
        let _ = writeln!(text, "# {}\nDNS.{} = {}", san.why, index + 1, san.name);
    }
}

/// Returns the subject, or the first name that fits where the subject is too long for a subject.
fn common_name(row: &CertificateRow) -> &str {
    let names = row.names.iter().map(|san| san.name.as_str());
    let mut fitting = std::iter::once(row.subject.as_str()).chain(names);
    fitting.find(|name| name.len() <= COMMON_NAME_MAX).unwrap_or("SIP federation edge")
}
