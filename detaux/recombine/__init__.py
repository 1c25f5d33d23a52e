"""Make training images: what a code keeps of one image beside its label, decoded under any label."""
