//! Every form in which the vendors hand out a private key.

use cloud_sim::{PrivateKeyForm, Service, Settings};
use keyferry_tests::openssh::assert_signs;

use crate::scene::Scene;

#[test]
fn every_form_of_a_private_key_is_read() {
    let scene = Scene::new();
    let forms = [
        ("base64", PrivateKeyForm::Base64),
        ("base64-pkcs8", PrivateKeyForm::Base64Pkcs8),
        ("escaped", PrivateKeyForm::Escaped),
        ("openssh", PrivateKeyForm::OpenSsh),
        ("pem", PrivateKeyForm::Pem),
        ("pkcs8", PrivateKeyForm::Pkcs8),
    ];
    for (form_name, private_key_form) in forms {
        for (account, service) in [("ecs", Service::AlibabaEcs), ("ens", Service::AlibabaEns)] {
            let settings = scene.cloud.settings(service);
            let settings = Settings {
                private_key_form,
                ..settings
            };
            scene.cloud.set_settings(service, settings);
            scene.home.key(
                &format!("{account}-{form_name}"),
                &format!("account = \"{account}\"\ngenerated_by = \"provider\"\n"),
            );
        }
        scene.assert_sound();
        for account in ["ecs", "ens"] {
            let public = scene
                .home
                .path(&format!("state/public/{account}-{form_name}.pub"));
            assert_signs(&scene.home.agent_socket(), &public);
        }
    }
    let requests = scene.cloud.requests().requests;
    let creates = requests
        .iter()
        .filter(|request| request.action == "CreateKeyPair");
    assert_eq!(creates.count(), 12, "each at the first try");
}
