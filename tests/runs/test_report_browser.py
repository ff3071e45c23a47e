"""The report in a real browser: no error, zoom, tooltip, and the width of a phone."""

import shutil

import pytest

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")

LAST = """
    const {step, value} = view.data('source_0').filter(row => row.name === 'held out').at(-1);
    const box = arguments[0].getBoundingClientRect(), [left, top] = view.origin();
    const x = left + view.scale('x')(step), y = top + view.scale('y')(value);
    return [step, value, x - box.width / 2, y - box.height / 2];
"""  # the last point of the held-out curve, and its place in pixels from the middle of the canvas


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (BROWSER and DRIVER):
        pytest.skip("there is no chromium with its chromedriver to open reports in")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1000"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def test_a_report_zooms_and_shows_values_and_fits_a_phone(honest, browser):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    from selenium.webdriver.support.ui import WebDriverWait

    def until(script):
        return WebDriverWait(browser, 30, poll_frequency=0.05).until(
            lambda _: browser.execute_script(f"return {script}")
        )

    browser.get((honest / "report.html").as_uri())
    until("typeof views !== 'undefined' && views.length > 0")
    browser.execute_script("window.view = views[0]; view.container().scrollIntoView({block: 'center'})")
    canvas = browser.execute_script("return view.container().querySelector('canvas')")
    step, value, dx, dy = browser.execute_script(LAST, canvas)
    ActionChains(browser, duration=0).move_to_element_with_offset(canvas, dx - 2, dy + 1).perform()
    shown = until("document.querySelector('#vg-tooltip-element.visible')?.innerText")
    assert step == 20 and shown.split() == ["step", "20", "of", "held", "out", "value", f"{value:.6g}"]

    assert browser.execute_script("return view.scale('x').domain()") == [0, 20]
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, -300).perform()
    low, high = until("(([low, high]) => high - low < 20 && [low, high])(view.scale('x').domain())")
    assert 0 < low < high < 20

    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", dict(width=390, height=844, deviceScaleFactor=1, mobile=True)
    )
    browser.refresh()
    until("typeof views !== 'undefined' && views.length > 0")
    browser.execute_script("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    assert browser.execute_script("return views[0].container().getBoundingClientRect().right") <= 390
    assert browser.get_log("browser") == []
