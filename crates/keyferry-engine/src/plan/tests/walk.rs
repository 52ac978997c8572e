//! Rotations from beginning to end, in a world where everything fails now and then: nobody is ever locked out, and when
//! the failures end, all comes to rest.

use super::rotation::cases;
use super::*;

mod chance;
mod hosts;
mod pairs;
mod world;

use world::World;

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn whatever_fails_nobody_is_locked_out_and_it_comes_to_rest(seed in any::<u64>(), steps in 20usize..400) {
        let mut world = World::new(seed);
        world.plan_and_begin();
        for _ in 0..steps {
            world.something_happens();
            world.plan_and_begin();
            world.nobody_is_locked_out();
        }
        world.the_storm_is_over();
        world.comes_to_rest();
    }
}
