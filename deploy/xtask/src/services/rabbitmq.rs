//! RabbitMQ, from Debian's package, with an Erlang name server of its own: several can run at once, beside that of the system.

use std::path::Path;
use std::process::Command;

use super::certificates;
use super::facts::Fact;
use super::{Place, Service};
use crate::apt;
use crate::error::Result;
use crate::workspace::Workspace;

/// The programs themselves: those on PATH are wrappers that change the user and forget the variables.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

const USER: &str = "weir";
const PASSWORD: &str = "weir-secret";

/// RabbitMQ.
pub struct RabbitMq;

impl Service for RabbitMq {
    fn install(&self, workspace: &Workspace) -> Result<()> {
        let _lock = workspace.lock("apt")?;
        if !Path::new(PROGRAMS).join("rabbitmq-server").is_file() {
            apt::install_named(&["rabbitmq-server"], "RabbitMQ")?;
        }
        Ok(())
    }

    fn ports(&self) -> &'static [&'static str] {
        &["amqp", "amqps", "management", "stream", "prometheus", "distribution", "epmd"]
    }

    fn configure(&self, place: &Place) -> Result<()> {
        certificates::make(&place.dir, USER)?;
        place.write("enabled_plugins", PLUGINS)?;
        place.write("environment", "")?;
        place.write("rabbitmq.conf", &settings(place)?)
    }

    fn command(&self, place: &Place, _part: &str) -> Result<Command> {
        let mut command = Command::new(format!("{PROGRAMS}/rabbitmq-server"));
        command.current_dir(&place.dir).envs(control_variables(place)?);
        command.env("RABBITMQ_DIST_PORT", place.ports.get("distribution")?.to_string());
        command.env("RABBITMQ_LOG_BASE", place.path("log"));
        command.env("RABBITMQ_CONFIG_FILE", place.path("rabbitmq"));
        command.env("RABBITMQ_ENABLED_PLUGINS_FILE", place.path("enabled_plugins"));
        command.env("RABBITMQ_PID_FILE", place.path("pid"));
        // To standard output, where this program looks for the words that say it is ready.
        command.env("RABBITMQ_LOGS", "-");
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        Ok(command)
    }

    fn ready(&self, _part: &str) -> &'static str {
        "Server startup complete"
    }

    fn facts(&self, place: &Place) -> Result<Vec<Fact>> {
        let variables = control_variables(place)?.into_iter().map(|(name, value)| Fact::text(name, value)).collect();
        Ok(vec![
            Fact::text("amqp", format!("amqp://{USER}@{}/%2f", place.address("amqp")?)),
            Fact::text("amqps", format!("amqps://{USER}@{}/%2f", place.address("amqps")?)),
            Fact::text("ca", certificates::path(&place.dir, "ca.pem")?),
            Fact::text("other_ca", certificates::path(&place.dir, "other-ca.pem")?),
            Fact::text("client_certificate", certificates::path(&place.dir, "client.pem")?),
            Fact::text("client_key", certificates::path(&place.dir, "client.key")?),
            Fact::text("user", USER),
            Fact::text("password", PASSWORD),
            Fact::text("management", place.address("management")?),
            Fact::text("ctl", format!("{PROGRAMS}/rabbitmqctl")),
            Fact::group("ctl_env".to_owned(), variables),
            Fact::text("log", place.path("server.log")),
        ])
    }
}

const PLUGINS: &str = "[rabbitmq_management,rabbitmq_stream,rabbitmq_prometheus,rabbitmq_auth_mechanism_ssl].\n";

/// What `rabbitmqctl` needs to find this server and no other.
fn control_variables(place: &Place) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        // The cookie that both share lies in the home directory.
        ("HOME", place.dir.display().to_string()),
        ("RABBITMQ_NODENAME", "weir@localhost".to_owned()),
        ("RABBITMQ_MNESIA_BASE", place.path("data")),
        // Else the machine's own settings would be read.
        ("RABBITMQ_CONF_ENV_FILE", place.path("environment")),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("ERL_EPMD_PORT", place.ports.get("epmd")?.to_string()),
    ])
}

fn settings(place: &Place) -> Result<String> {
    let tls = |name: &str| certificates::path(&place.dir, name);
    Ok(format!(
        "listeners.tcp.1 = {amqp}\n\
         listeners.ssl.1 = {amqps}\n\
         ssl_options.cacertfile = {ca}\n\
         ssl_options.certfile = {certificate}\n\
         ssl_options.keyfile = {key}\n\
         ssl_options.verify = verify_peer\n\
         ssl_options.fail_if_no_peer_cert = false\n\
         auth_mechanisms.1 = PLAIN\n\
         auth_mechanisms.2 = AMQPLAIN\n\
         auth_mechanisms.3 = EXTERNAL\n\
         ssl_cert_login_from = common_name\n\
         default_user = {USER}\n\
         default_pass = {PASSWORD}\n\
         default_user_tags.administrator = true\n\
         management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management}\n\
         stream.listeners.tcp.1 = {stream}\n\
         prometheus.tcp.ip = 127.0.0.1\n\
         prometheus.tcp.port = {prometheus}\n\
         collect_statistics_interval = 1000\n\
         disk_free_limit.absolute = 50MB\n\
         log.console = true\n\
         log.console.level = info\n\
         log.file = false\n",
        amqp = place.address("amqp")?,
        amqps = place.address("amqps")?,
        ca = tls("ca.pem")?,
        certificate = tls("server.pem")?,
        key = tls("server.key")?,
        management = place.ports.get("management")?,
        stream = place.address("stream")?,
        prometheus = place.ports.get("prometheus")?,
    ))
}
