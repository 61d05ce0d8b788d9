"""The KFP shell of model_deploy."""

from kfp.dsl import component


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def model_deploy(
    deploy: str,
    store: str,
    name: str,
) -> str:
    """Roll the serving Deployment to the champion, wait until it answers, and roll it back when it does not.

    Args:
        deploy: Name of the Deployment, and of its Service, in the namespace of the run.
        store: Where the registry is.
        name: The model, as it was published.

    Returns:
        The version that is served now.
    """
    from components.model_deploy.cluster import in_cluster
    from components.model_deploy.deploy import deploy_champion
    from components.shared.run_record import leave_note
    from components.shared.step import run_step

    deployed: str = run_step(
        "model_deploy", store, lambda notify: deploy_champion(in_cluster(deploy), store, name, notify=notify)
    )
    leave_note(store, "model_deploy", {"versions": {"served": f"{name}@{deployed}"}})
    return deployed
