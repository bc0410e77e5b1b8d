//! The listener of management.

use super::*;

/// What takes a permission is at the listener of management and on the socket; everything else is at both.
#[tokio::test]
async fn management_can_have_a_listener_of_its_own() {
    let daemon = Daemon::start("[admin]\naddr = \"127.0.0.1:0\"").await;
    let admin_addr = daemon.admin_addr.expect("it listens");
    let managed = async |text: &str| exchange(TcpStream::connect(admin_addr).await.unwrap(), text).await;
    let made =
        managed(&post("/auth/tokens", &bearer(ADMIN), "{\"name\":\"holder\",\"scopes\":[\"authd:admin\"]}")).await;
    let holder = made.body["token"].as_str().unwrap_or_else(|| panic!("{made:?}"));
    for info in shared::api::operations() {
        let is_managing = matches!(info.access, Access::Permission(_));
        let text = bare(info, &bearer(holder));
        let public = daemon.send(&text).await;
        let told = public.body["detail"].as_str().unwrap_or_default().contains("a listener of its own");
        assert_eq!(told, is_managing, "{}: {public:?}", info.name);
        assert_eq!(public.status == 404 && told, is_managing, "{}", info.name);
        let inside = managed(&text).await;
        assert!(inside.status != 401 || !is_managing, "{}: {inside:?}", info.name);
        assert!(!inside.text.contains("a listener of its own"), "{}", info.name);
    }
    assert_eq!(managed(&request("GET", "/auth/tokens", "", "")).await.status, 401, "it asks for credentials");
    // What is for others too does not ask the operator in.
    let who = request("GET", "/auth/whoami", &bearer(holder), "");
    assert_eq!(managed(&who).await.body["permissions"], json!(["admin"]));
    assert_eq!(daemon.send(&who).await.body["permissions"], json!(["tokens.introspect"]));
    assert_eq!(daemon.send(&request("GET", "/auth/whoami", &bearer(ADMIN), "")).await.status, 401);
    let all = request("GET", "/files?all=true", &bearer(holder), "");
    assert_eq!((daemon.send(&all).await.status, managed(&all).await.status), (403, 200));
    assert_eq!(daemon.send_to_socket(&request("GET", "/auth/tokens", "", "")).await.status, 200);
    let body = format!("{{\"token\":\"{holder}\"}}");
    for answer in
        [daemon.send(&post("/auth/validate", "", &body)).await, managed(&post("/auth/validate", "", &body)).await]
    {
        assert_eq!(answer.body["valid"], true, "{answer:?}");
    }
}
