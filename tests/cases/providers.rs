//! One suite for every provider: what a user may count on, whichever cloud it is.
//!
//! Every case ends with the cloud holding exactly the pairs that the ledger knows, and somebody else's pairs as they were.

#[path = "providers/faults.rs"]
mod faults;
#[path = "providers/pairs.rs"]
mod pairs;
#[path = "providers/refusals.rs"]
mod refusals;
#[path = "providers/scene.rs"]
mod scene;
#[path = "providers/vendor.rs"]
mod vendor;

/// The whole suite for one vendor.
macro_rules! suite {
    ($($vendor:ident: $description:expr;)*) => {
        $(suite!(@cases $vendor, $description,
            pairs: create import list_over_three_pages get_and_delete delete_again,
            refusals: name_too_long name_with_a_bad_first_character name_that_is_not_ascii duplicate quota wrong_secret lack_of_permission
                expired_token,
            faults: throttled lost_reply_of_create lost_reply_of_import server_error_then_fine
                credentials_renewed_in_mid_run,
        );)*
    };
    (@cases $vendor:ident, $description:expr, $($module:ident: $($case:ident)*,)*) => {
        mod $vendor {
            $($(
                #[test]
                fn $case() {
                    crate::$module::$case(&$description);
                }
            )*)*
        }
    };
}

suite! {
    alibaba_ecs: crate::vendor::ALIBABA_ECS;
    alibaba_ens: crate::vendor::ALIBABA_ENS;
    alibaba_swas: crate::vendor::ALIBABA_SWAS;
    aws_ec2: crate::vendor::AWS_EC2;
    huawei_ecs: crate::vendor::HUAWEI_ECS;
    volcengine_ecs: crate::vendor::VOLCENGINE_ECS;
}

/// They are found and deleted among that user's.
#[test]
fn pairs_of_another_user() {
    crate::pairs::get_and_delete(&crate::vendor::HUAWEI_ECS_FOR_A_USER);
}
