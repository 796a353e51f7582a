//! OpenLDAP's slapd, from Debian's packages: a directory of a few people and groups, by plain connections with StartTLS and by TLS.
//!
//! Nobody reads without a password. Which groups somebody is in is told by `memberOf` as well, for who asks for that attribute.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::certificates;
use super::facts::Fact;
use super::{Place, Service};
use crate::apt;
use crate::error::{Context, Result};
use crate::process;
use crate::workspace::Workspace;

const PROGRAM: &str = "/usr/sbin/slapd";

/// The server is in the one package, its tools are in the other.
const PACKAGES: [(&str, &str); 2] = [(PROGRAM, "slapd"), ("/usr/bin/ldapsearch", "ldap-utils")];

/// What a directory needs of the ports of its service.
pub const PORTS: [&str; 2] = ["ldap", "ldaps"];

pub const READY: &str = "slapd starting";

const BASE: &str = "dc=example,dc=org";
pub const PEOPLE: &str = "ou=people,dc=example,dc=org";
const GROUPS: &str = "ou=groups,dc=example,dc=org";

/// May read everything but passwords.
const SERVICE: &str = "cn=weir,dc=example,dc=org";
const SERVICE_PASSWORD: &str = "weir-secret";

/// May do everything.
const ADMIN: &str = "cn=admin,dc=example,dc=org";
const ADMIN_PASSWORD: &str = "admin-secret";

/// Whom other services that look people up here know.
pub const USER: &str = "etl";
pub const PASSWORD: &str = "s3cret";

/// An entry below [`PEOPLE`].
struct Person {
    uid: &'static str,
    /// Its name relative to [`PEOPLE`]: most have their uid there.
    rdn: Option<&'static str>,
    cn: &'static str,
    sn: &'static str,
    department: &'static str,
    phone: &'static str,
    password: Option<&'static str>,
}

const fn person(uid: &'static str, cn: &'static str, sn: &'static str, password: Option<&'static str>) -> Person {
    Person { uid, rdn: None, cn, sn, department: "100", phone: "+49 30 1000", password }
}

const DIRECTORY: [Person; 10] = [
    person(USER, "Loader", "Loader", Some(PASSWORD)),
    Person {
        department: "200",
        phone: "+44 20 7946 0001",
        ..person("ada", "Ada Lovelace", "Lovelace", Some("ada-secret"))
    },
    Person {
        department: "200",
        phone: "+1 202 555 0102",
        ..person("grace", "Grace Hopper", "Hopper", Some("grace-secret"))
    },
    Person {
        department: "300",
        phone: "+44 20 7946 0003",
        ..person("alan", "Alan Turing", "Turing", Some("alan-secret"))
    },
    Person {
        department: "300",
        phone: "+43 1 555 0104",
        ..person("zoe", "Zoë Müller-Łukasz 李", "Müller-Łukasz", Some("zoë-påss"))
    },
    // Of its name nearly everything has to be escaped, in a distinguished name and in a filter.
    Person {
        rdn: Some(r"cn=Smith\, John (ext) *\\"),
        ..person("jsmith", r"Smith, John (ext) *\", "Smith", Some("john-secret"))
    },
    // Two by the same name: a search for it finds more than was expected.
    person("twin1", "Same Name", "Name", Some("twin1-secret")),
    person("twin2", "Same Name", "Name", Some("twin2-secret")),
    person("outsider", "Olga Outside", "Outside", Some("olga-secret")),
    person("locked", "Larry Locked", "Locked", None),
];

/// Groups below [`GROUPS`], and who is in them.
const MEMBERS: [(&str, &[&str]); 4] = [
    ("weir-viewers", &["ada", "grace", "alan", "zoe", "jsmith", "locked"]),
    ("weir-operators", &["grace", "zoe", "jsmith"]),
    ("weir-admins", &["alan"]),
    ("chess", &["ada", "outsider"]),
];

/// OpenLDAP.
pub struct Ldap;

impl Service for Ldap {
    fn install(&self, workspace: &Workspace) -> Result<()> {
        install(workspace)
    }

    fn ports(&self) -> &'static [&'static str] {
        &PORTS
    }

    fn configure(&self, place: &Place) -> Result<()> {
        configure(place)
    }

    fn command(&self, place: &Place, _: &str) -> Result<Command> {
        command(place)
    }

    fn ready(&self, _: &str) -> &'static str {
        READY
    }

    fn facts(&self, place: &Place) -> Result<Vec<Fact>> {
        let mut facts = facts(place)?;
        facts.push(Fact::text("log", place.path("server.log")));
        Ok(facts)
    }
}

/// Installs the server and its tools where they are missing.
pub fn install(workspace: &Workspace) -> Result<()> {
    let _lock = workspace.lock("apt")?;
    let missing = PACKAGES.iter().filter(|(program, _)| !Path::new(program).is_file());
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { apt::install_named(&missing, "OpenLDAP") }
}

/// Makes a directory in the folder of a service.
pub fn configure(place: &Place) -> Result<()> {
    certificates::make(&place.dir, USER)?;
    let data = place.dir.join("directory");
    fs::create_dir(&data).context(|| data.display())?;
    place.write("slapd.conf", &settings(place)?)?;
    place.write("directory.ldif", &entries())?;
    let mut add = Command::new("/usr/sbin/slapadd");
    add.args(["-q", "-f", &place.path("slapd.conf"), "-l", &place.path("directory.ldif")]);
    process::output(&mut add).map(drop)
}

/// The command that serves the directory.
pub fn command(place: &Place) -> Result<Command> {
    let urls = format!("ldap://{} ldaps://{}", place.address("ldap")?, place.address("ldaps")?);
    let mut command = Command::new(PROGRAM);
    // In the foreground, with a line for each operation.
    command.args(["-d", "stats", "-f", &place.path("slapd.conf"), "-h", &urls]);
    Ok(command)
}

/// What users of the directory have to know.
pub fn facts(place: &Place) -> Result<Vec<Fact>> {
    let passwords = DIRECTORY.iter().filter_map(|person| Some(Fact::text(person.uid, person.password?)));
    let names = DIRECTORY.iter().map(|person| Fact::text(person.uid, person.dn()));
    Ok(vec![
        Fact::text("url", format!("ldap://{}", place.address("ldap")?)),
        Fact::text("urls", format!("ldaps://{}", place.address("ldaps")?)),
        Fact::text("base", BASE),
        Fact::text("people", PEOPLE),
        Fact::text("groups", GROUPS),
        Fact::text("bind_dn", SERVICE),
        Fact::text("bind_password", SERVICE_PASSWORD),
        Fact::text("admin_dn", ADMIN),
        Fact::text("admin_password", ADMIN_PASSWORD),
        Fact::text("ca", certificates::path(&place.dir, "ca.pem")?),
        Fact::text("other_ca", certificates::path(&place.dir, "other-ca.pem")?),
        Fact::group("passwords".to_owned(), passwords.collect()),
        Fact::group("names".to_owned(), names.collect()),
    ])
}

impl Person {
    fn dn(&self) -> String {
        let rdn = self.rdn.map_or_else(|| format!("uid={}", self.uid), str::to_owned);
        format!("{rdn},{PEOPLE}")
    }

    fn entry(&self) -> String {
        let Person { uid, cn, sn, department, phone, .. } = self;
        let mut entry = format!(
            "dn: {}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {cn}\nsn: {sn}\nmail: {uid}@example.org\n\
             departmentNumber: {department}\ntelephoneNumber: {phone}\n",
            self.dn()
        );
        if let Some(password) = self.password {
            let _ = writeln!(entry, "userPassword: {password}");
        }
        entry
    }
}

/// The directory as LDIF. slapadd takes text in UTF-8 as it is.
fn entries() -> String {
    let mut entries = vec![
        format!("dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n"),
        format!("dn: {PEOPLE}\nobjectClass: organizationalUnit\nou: people\n"),
        format!("dn: {GROUPS}\nobjectClass: organizationalUnit\nou: groups\n"),
        format!(
            "dn: {SERVICE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: weir\n\
             userPassword: {SERVICE_PASSWORD}\n"
        ),
    ];
    entries.extend(DIRECTORY.iter().map(Person::entry));
    for (group, members) in MEMBERS {
        let mut entry = format!("dn: cn={group},{GROUPS}\nobjectClass: groupOfNames\ncn: {group}\n");
        for person in DIRECTORY.iter().filter(|person| members.contains(&person.uid)) {
            let _ = writeln!(entry, "member: {}", person.dn());
        }
        entries.push(entry);
    }
    entries.join("\n")
}

fn settings(place: &Place) -> Result<String> {
    let mut settings = String::new();
    for schema in ["core", "cosine", "nis", "inetorgperson", "dyngroup"] {
        let _ = writeln!(settings, "include /etc/ldap/schema/{schema}.schema");
    }
    let _ = write!(
        settings,
        "modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload dynlist\n\
         TLSCACertificateFile {}\nTLSCertificateFile {}\nTLSCertificateKeyFile {}\n\
         database mdb\nmaxsize 67108864\nsuffix \"{BASE}\"\nrootdn \"{ADMIN}\"\nrootpw {ADMIN_PASSWORD}\ndirectory {}\n{REST}",
        certificates::path(&place.dir, "ca.pem")?,
        certificates::path(&place.dir, "server.pem")?,
        certificates::path(&place.dir, "server.key")?,
        place.path("directory"),
    );
    Ok(settings)
}

const REST: &str = "\
index objectClass,uid,cn,member eq
access to attrs=userPassword by anonymous auth by * none
access to * by users read by anonymous auth
overlay dynlist
dynlist-attrset groupOfURLs memberURL member+memberOf@groupOfNames
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_people_that_are_there() {
        for (group, members) in MEMBERS {
            let known = |uid: &&&str| DIRECTORY.iter().any(|person| person.uid == **uid);
            assert_eq!(members.iter().filter(known).count(), members.len(), "{group}");
        }
        let entries = entries();
        assert_eq!(entries.matches("\ndn: ").count() + 1, 4 + DIRECTORY.len() + MEMBERS.len());
        assert!(entries.contains(r"member: cn=Smith\, John (ext) *\\,ou=people,dc=example,dc=org"), "{entries}");
    }
}
