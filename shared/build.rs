//! Compiles `proto/` for the feature `grpc`, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "grpc")]
    grpc::compile()?;
    Ok(())
}

#[cfg(feature = "grpc")]
mod grpc {
    use std::path::PathBuf;
    use std::{env, error, fs};

    use prost::Message;

    const FILES: [&str; 6] = [
        "authd/v1/authd.proto",
        "envoy/service/auth/v3/external_auth.proto",
        "google/rpc/error_details.proto",
        "grpc/health/v1/health.proto",
        "session/session.proto",
        "user/user.proto",
    ];

    /// Messages with a token or a password, or with headers, of which one may have it: what is printed of them would be in
    /// logs. A test in `src/grpc/` requires that a field that may hold a secret is in one of these.
    const SECRET: [&str; 13] = [
        ".authd.v1.ValidateRequest",
        ".authd.v1.CheckTokenRequest",
        ".authd.v1.CheckAccessRequest",
        ".authd.v1.IntrospectRequest",
        ".envoy.config.core.v3.HeaderMap",
        ".envoy.config.core.v3.HeaderValue",
        ".envoy.config.core.v3.HeaderValueOption",
        ".envoy.service.auth.v3",
        ".session.LoginRequest",
        ".user.SignupRequest",
        ".user.ResetRequest",
        ".user.DeleteRequest",
        ".user.TotpRequest",
    ];

    pub fn compile() -> Result<(), Box<dyn error::Error>> {
        println!("cargo::rerun-if-changed=proto");
        let mut files = protox::compile(FILES, ["proto"])?;
        tonic_prost_build::configure().include_file("packages.rs").skip_debug(SECRET).compile_fds(files.clone())?;
        // Reflection needs neither comments nor positions.
        for file in &mut files.file {
            file.source_code_info = None;
        }
        let path = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
        Ok(fs::write(path, files.encode_to_vec())?)
    }
}
